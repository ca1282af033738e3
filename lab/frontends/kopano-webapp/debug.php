<?php
// Internal: nobody outside should be able to run this.
header('Content-Type: text/plain');
echo "internal: debug\n";
