require "openssl"

def authentic?(secret, body, signature)
  expected = "sha256=" + OpenSSL::HMAC.hexdigest("SHA256", secret, body)
  expected.bytesize == signature.bytesize && OpenSSL.fixed_length_secure_compare(expected, signature)
end

puts authentic?(ARGV[0], $stdin.binmode.read, ARGV[1])
