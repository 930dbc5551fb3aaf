#!/usr/bin/env bash
# Build OpenSSL into directory openssl of the build's directory $1, reduced to a client for TLS 1.2 and 1.3. Other parts
# can neither be loaded nor configured: no-module, no-dso and no-engine remove all ways to load code, and
# no-autoload-config ignores configuration files of the image and the environment.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
. "$here/../../machine.sh" "$1"
sources=$(realpath "$1/../sources")
cd "$1"
PATH="$PWD/musl/bin:$PATH"
rm -rf openssl
mkdir openssl
cd openssl
"$here/../unpack.sh" "$sources"/openssl_*.dsc source "$here"/patches/*.patch
cd source
protocols="ssl3 ssl3-method tls1 tls1-method tls1_1 tls1_1-method dtls quic nextprotoneg psk srp srtp ktls sctp"
formats="cmp cms ct http ocsp rfc3779 ts"
algorithms="argon2 aria bf blake2 camellia cast des dsa ec2m gost idea md4 mdc2 ml-dsa ocb rc2 rc4 rmd160 scrypt
    seed siphash siv slh-dsa sm2 sm3 sm4 tls-deprecated-ec whirlpool"
loading="autoerrinit autoload-config dso dynamic-engine engine legacy module shared"
other="apps async comp docs filenames multiblock pic secure-memory ssl-trace tests thread-pool ui-console"
# shellcheck disable=SC2046
./Configure "$openssl" $(printf 'no-%s ' $protocols $formats $algorithms $loading $other) \
    --prefix=/usr --libdir=lib --openssldir=/usr/lib/ssl CC=musl-cc CFLAGS="-Os -Wa,--noexecstack"
# The time of the build gets into it.
export SOURCE_DATE_EPOCH=0
make -s -j"$(nproc)" build_generated
make -s -j"$(nproc)" libcrypto.a libssl.a
mkdir ../lib ../include
cp libcrypto.a libssl.a ../lib
cp -r include/openssl ../include
