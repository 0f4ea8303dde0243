<?php
// php-memcached on libmemcached: `text` or `binary`.

$binary = $argv[1] === 'binary';
$clients = [];
$tokens = [];

function open_client(string $addresses, bool $binary): Memcached
{
    $client = new Memcached();
    $client->setOptions([
        Memcached::OPT_BINARY_PROTOCOL => $binary,
        Memcached::OPT_LIBKETAMA_COMPATIBLE => true,
        Memcached::OPT_TCP_NODELAY => true,
        Memcached::OPT_COMPRESSION => false,
        // All three, or the dead server's share of the keys fails: a server that fails once is taken
        // out of the ring; without a time of death it is put back 2 s later, and stays in.
        Memcached::OPT_REMOVE_FAILED_SERVERS => true,
        Memcached::OPT_SERVER_FAILURE_LIMIT => 1,
        Memcached::OPT_DEAD_TIMEOUT => 60,
    ]);
    if (getenv('CLIENT_USER') !== false) {
        $client->setSaslAuthData(getenv('CLIENT_USER'), getenv('CLIENT_PASSWORD'));
    }
    foreach (explode(',', $addresses) as $address) {
        [$host, $port] = explode(':', $address);
        $client->addServer($host, (int) $port);
    }
    return $client;
}

// What the client returned, by its result code: false alone does not say whether it was a miss.
function render(Memcached $client, mixed $result): string
{
    $code = $client->getResultCode();
    if ($code === Memcached::RES_SUCCESS || (is_array($result) && $code === Memcached::RES_SOME_ERRORS)) {
        if (is_array($result)) {
            $pairs = array_map(fn($key) => " $key={$result[$key]}", array_keys($result));
            return 'values' . implode('', $pairs);
        }
        return $result === true ? 'ok' : "value $result";
    }
    if (in_array($code, [Memcached::RES_NOTFOUND, Memcached::RES_NOTSTORED, Memcached::RES_DATA_EXISTS], true)) {
        return 'no';
    }
    return 'error ' . strtr($client->getResultMessage(), "\n", ' ') . " ($code)";
}

while (($line = fgets(STDIN)) !== false) {
    [$handle, $verb, $key] = $args = explode(' ', rtrim($line, "\n"));
    if ($verb === 'open') {
        $clients[$handle] = open_client($key, $binary);
        echo "ok\n";
        continue;
    }
    $client = $clients[$handle];
    $rest = array_slice($args, 3);
    if ($verb === 'gets') {
        $result = $client->get($key, null, Memcached::GET_EXTENDED);
        if (is_array($result)) {
            $tokens["$handle $key"] = $result['cas'];
            $result = $result['value'];
        }
    } else {
        $result = match ($verb) {
            'set', 'add', 'replace' => $client->$verb($key, $rest[1], (int) $rest[0]),
            'append' => $client->append($key, $rest[0]),
            'get' => $client->get($key),
            'cas' => $client->cas($tokens["$handle $key"], $key, $rest[1], (int) $rest[0]),
            'mget' => $client->getMulti([$key, ...$rest]),
            'incr' => $client->increment($key, (int) $rest[0]),
            'touch' => $client->touch($key, (int) $rest[0]),
            'delete' => $client->delete($key),
        };
    }
    echo render($client, $result), "\n";
}
