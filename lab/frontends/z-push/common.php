<?php
// What every answer of Z-Push has, signed in or not.

function zpush_require_credentials(): void
{
    header('MS-Server-ActiveSync: 14.1');
    header('MS-ASProtocolVersions: 2.5,12.0,12.1,14.0,14.1');
    header('MS-ASProtocolCommands: Sync,Ping,FolderSync,SendMail');
    // Under mod_php the server has taken the header apart, under FPM it may only have handed it on.
    $sent = $_SERVER['PHP_AUTH_USER'] ?? $_SERVER['HTTP_AUTHORIZATION'] ?? '';
    if ($sent === '') {
        http_response_code(401);
        header('WWW-Authenticate: Basic realm="ZPush"');
        header('Content-Type: text/plain');
        echo "sign in\n";
        exit;
    }
}
