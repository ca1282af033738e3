<?php
// Stand-in for Z-Push: asks for credentials, holds a Ping for as long as it is told, counts what is uploaded.

require __DIR__ . '/common.php';

zpush_require_credentials();
header('X-Z-Push-Version: 2.7.1');
header('Content-Type: text/plain');

if (($_GET['Cmd'] ?? '') === 'Ping') {
    $seconds = max(0, min(3540, (int) ($_GET['wait'] ?? 60)));
    set_time_limit(0);
    sleep($seconds);
    echo "waited $seconds\n";
    exit;
}

// Read in pieces: an upload may be larger than PHP's memory limit.
$bytes = 0;
$body = fopen('php://input', 'rb');
while (!feof($body)) {
    $bytes += strlen(fread($body, 65536));
}
echo "$bytes\n";
