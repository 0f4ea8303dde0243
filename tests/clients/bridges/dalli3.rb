# Dalli 3 with its defaults: binary, failover to the next server of the ring.

require "dalli"

Dalli.logger.level = Logger::FATAL
$stdout.sync = true
RAW = { raw: true, compress: false }.freeze
CREDENTIALS = { username: ENV["CLIENT_USER"], password: ENV["CLIENT_PASSWORD"] }.freeze
clients = {}
tokens = {}

def render(result)
  case result
  when Hash then "values#{result.map { |key, value| " #{key}=#{value}" }.join}"
  # It answers the token of what it has stored; of a replace of nothing, 0.
  when nil, false, 0 then "no"
  when String then "value #{result}"
  else "ok"
  end
end

$stdin.each_line do |line|
  handle, verb, *args = line.chomp.split(" ")
  client = clients[handle]
  key, *rest = args
  reply =
    begin
      case verb
      when "open"
        clients[handle] = Dalli::Client.new(key.split(","), CREDENTIALS)
        "ok"
      when "set", "add", "replace"
        render(client.public_send(verb, key, rest[1], rest[0].to_i, RAW))
      when "append" then render(client.append(key, rest[0]))
      when "get" then render(client.get(key))
      when "gets"
        value, tokens[[handle, key]] = client.get_cas(key)
        render(value)
      when "cas" then render(client.set_cas(key, rest[1], tokens[[handle, key]], rest[0].to_i, RAW))
      when "mget" then render(client.get_multi(*args))
      when "incr" then render(client.incr(key, rest[0].to_i)&.to_s)
      when "touch" then render(client.touch(key, rest[0].to_i))
      when "delete" then render(client.delete(key))
      end
    rescue StandardError => e
      "error #{e.class} #{e.message}".tr("\n", " ")
    end
  puts reply
end
