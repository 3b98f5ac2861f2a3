"""Self-signed certificates with their keys, which are no secret.

``servers.CERTIFICATE`` is for 127.0.0.1. These are for other names and times. No two have the same
subject: OpenSSL would find only the first one in a file of trusted certificates.
"""

from __future__ import annotations

#: For 127.0.0.1, valid from 2099 on: to its reader, this machine's clock is behind.
EARLY = """\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUFHDu5Lnnph+VnOaks82UXpU3KMYwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNYmFyZ2Vpbi1lYXJseTAiGA8yMDk5MDEwMTAwMDAwMFoYDzIx
MjUwMTAxMDAwMDAwWjAYMRYwFAYDVQQDDA1iYXJnZWluLWVhcmx5MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAE6K1w6mo+L4VQNhtaat/jYwGqLmXnuNR2ygPgCGmO
dZOCIRhyOud3PmM6DkQXRRx4WDIssIrVP8dGUv6350i5d6NDMEEwDwYDVR0TAQH/
BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMB0GA1UdDgQWBBRSRM/MKUE1LEhGVdrD
euRdRcmo5TAKBggqhkjOPQQDAgNHADBEAiAeI4Yx4uShfxEryEDYZI4+CTrBAyzq
XsNr+anSPPGgoAIgKgenUUiunZlM8q4QUj9lKbPHkE0MucbDp1s+LFiFC7U=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg3lRgCAJUEs+jOL4r
S/4E2Uw9Y0E8I89QKVqs9TlSUBKhRANCAATorXDqaj4vhVA2G1pq3+NjAaouZee4
1HbKA+AIaY51k4IhGHI653c+YzoORBdFHHhYMiywitU/x0ZS/rfnSLl3
-----END PRIVATE KEY-----
"""

#: For realtime.test, a name that is no loopback address, so that a proxy is used.
NAMED = """\
-----BEGIN CERTIFICATE-----
MIIBgDCCASagAwIBAgIUfDYWv9oVMNriPdJ/KK4olC4DUd0wCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNcmVhbHRpbWUudGVzdDAgFw0yNjExMDEwMDAwMDBaGA8yMTI1
MDEwMTAwMDAwMFowGDEWMBQGA1UEAwwNcmVhbHRpbWUudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABCv6iNInDPGW2EwTkcJmbtl2AdGfjwlZzQ2ySJKtNFLw
MIlVyGkfEeSHeQTaBEoH8nfa2yHN/rygMXFdtpgHkfqjTDBKMA8GA1UdEwEB/wQF
MAMBAf8wGAYDVR0RBBEwD4INcmVhbHRpbWUudGVzdDAdBgNVHQ4EFgQUY8NobH8w
gRj4OyzTxIWj/Pq2TGcwCgYIKoZIzj0EAwIDSAAwRQIgHUrUvbujYsCaaSLEEjkg
emzMcznQ5bfLU6elVurhXiACIQDaJGzKnatDYNoDBS7n3Vl/bxliHkyTfIVZoSm+
oh4AFQ==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsBDhvhl2uMiBg0rL
+03HzKvoPMVA+i/XE5p1QZaEgcWhRANCAAQr+ojSJwzxlthME5HCZm7ZdgHRn48J
Wc0NskiSrTRS8DCJVchpHxHkh3kE2gRKB/J32tshzf68oDFxXbaYB5H6
-----END PRIVATE KEY-----
"""
