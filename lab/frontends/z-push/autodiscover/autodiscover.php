<?php
// Stand-in for AutoDiscover: who has no credentials is asked for them.

require __DIR__ . '/../common.php';

zpush_require_credentials();
header('Content-Type: application/xml');
echo '<?xml version="1.0" encoding="utf-8"?>', "\n",
    '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"/>', "\n";
