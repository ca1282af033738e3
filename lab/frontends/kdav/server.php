<?php
// Stand-in for kDAV: asks for credentials, lists one folder, counts what is uploaded.

header('X-Sabre-Version: 4.1.5');
$sent = $_SERVER['PHP_AUTH_USER'] ?? $_SERVER['HTTP_AUTHORIZATION'] ?? '';
if ($sent === '') {
    http_response_code(401);
    header('WWW-Authenticate: Basic realm="Kopano DAV"');
    header('Content-Type: text/plain');
    echo "sign in\n";
    exit;
}
if ($_SERVER['REQUEST_METHOD'] === 'OPTIONS') {
    header('DAV: 1, 3, calendar-access, addressbook');
    exit;
}
http_response_code(207);
header('Content-Type: application/xml');
echo '<?xml version="1.0"?>', "\n", '<d:multistatus xmlns:d="DAV:"/>', "\n";
