<?php
// One request of one user: counts in the session, as an application that notices its failures.
//
// When the session handler fails, PHP only warns and goes on: session_write_close() returns true
// even if nothing was written. An application that ignores the warning answers 200 for a change
// that is lost. This one turns every warning of the handler into 503, so that a balancer tries
// elsewhere and the user keeps the session.

ini_set('display_errors', '0');
$begun = hrtime(true);
$warnings = [];
set_error_handler(function (int $level, string $message) use (&$warnings): bool {
    $warnings[] = $message;
    return true;
});

// Measured here, because PHP's built-in server may let a request wait behind another one's lock.
function tell_elapsed(): void
{
    global $begun;
    header('X-Elapsed-Us: ' . intdiv(hrtime(true) - $begun, 1000));
}

function refuse(string $step, array $warnings): never
{
    // The cookie of an empty session must not reach the user.
    header_remove('Set-Cookie');
    http_response_code(503);
    tell_elapsed();
    exit($step . ': ' . implode(' | ', array_unique($warnings)));
}

if (!session_start() || $warnings) {
    refuse('start', $warnings);
}
$counter = ($_SESSION['counter'] ?? 0) + 1;
$_SESSION['counter'] = $counter;
$_SESSION['payload'] ??= bin2hex(random_bytes(512));
// Work, done while the session is locked: without it no node would ever die inside a request.
usleep(5000);
if (!session_write_close() || $warnings) {
    refuse('write', $warnings);
}
header('Content-Type: text/plain');
tell_elapsed();
echo session_id(), ',', $counter;
