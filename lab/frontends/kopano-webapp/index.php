<?php
// Stand-in for the WebApp's first page: its cookie, its version header, its refusal of plain HTTP, what its scripts need
// of a browser; and for its uploads, whose size it tells.
// No session file is written: a test that counts the files of the host must not see any that it did not cause.

$version = trim(file_get_contents(__DIR__ . '/version'));

// The proxy's word wins over the connection, even when a client made it up.
$secure = isset($_SERVER['HTTP_X_FORWARDED_PROTO'])
    ? $_SERVER['HTTP_X_FORWARDED_PROTO'] === 'https'
    : !empty($_SERVER['HTTPS']) && $_SERVER['HTTPS'] !== 'off';

if (!$secure) {
    http_response_code(400);
    header('Content-Type: text/plain');
    echo "Bad Request\n";
    exit;
}

if (isset($_GET['upload'])) {
    header('Content-Type: text/plain');
    echo array_sum(array_column($_FILES, 'size')), "\n";
    exit;
}

header("X-Zarafa: $version");
setcookie('__Secure-KOPANO_WEBAPP', bin2hex(random_bytes(16)), 0, '/webapp/', '', true, true);
?>
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>WebApp</title>
<link rel="icon" href="client/logo.svg">
<link rel="stylesheet" href="client/style.css">
<style>body { margin: 0; }</style>
<script>
window.loginTime = Date.now();
document.documentElement.dataset.inline = 'yes';
document.documentElement.dataset.eval = eval('"yes"');
document.documentElement.dataset.function = new Function('return "yes"')();
window.addEventListener('message', (event) => { document.documentElement.dataset.preview = event.data; });
const source = URL.createObjectURL(new Blob(['postMessage("yes")'], { type: 'text/javascript' }));
new Worker(source).onmessage = (event) => { document.documentElement.dataset.worker = event.data; };
</script>
<script src="client/app.js"></script>
</head>
<body style="background: rgb(1, 2, 3)">
<iframe src="plugins/filepreviewer/preview.html" title="Preview"></iframe>
<form method="post" action="index.php?logon">
<input name="username" autocomplete="username">
<input name="password" type="password" autocomplete="current-password">
<button>Sign in</button>
</form>
</body>
</html>
