<?php

function is_authentic(string $secret, string $body, string $signature): bool
{
    $expected = 'sha256=' . hash_hmac('sha256', $body, $secret);
    return hash_equals($expected, $signature);
}

echo is_authentic($argv[1], file_get_contents('php://stdin'), $argv[2]) ? 'true' : 'false';
