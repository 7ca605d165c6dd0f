#!/bin/sh
# first.sh FOLDER NAME: what a centre needs once before it starts: an authority, certificates (NAME is what boxes call this machine),
# passwords. As root, since each secret belongs to the user of one container. Overwrites nothing. VREID is how vreid is called.
set -eu
umask 077
folder=$1 name=$2
postgres=${POSTGRES_UID:-999} vreid=${VREID_UID:-10001}
mkdir -p "$folder/secrets"
chmod 755 "$folder"
cd "$folder"
word() { [ -s "secrets/$1" ] || openssl rand -hex 24 | tr -d '\n' > "secrets/$1"; }
[ -s ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=vreid centre $name" \
    -keyout secrets/ca.key -out ca.pem
certificate() { # WHO NAMES
    [ -s "$1.pem" ] && return
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "secrets/$1.key" -out "$1.csr"
    printf 'subjectAltName=%s\n' "$2" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey secrets/ca.key -set_serial "0x$(openssl rand -hex 16)" -days 825 \
        -extfile "$1.ext" -out "$1.pem"
    rm "$1.csr" "$1.ext"
}
certificate postgres DNS:postgres
certificate nats "DNS:nats,DNS:$name"
certificate serve "DNS:localhost,DNS:$name,IP:127.0.0.1"
for each in postgres_password nats_operator nats_centre; do word "$each"; done
[ -s secrets/pgpass ] || printf 'postgres:5432:*:vreid:%s\n' "$(cat secrets/postgres_password)" > secrets/pgpass
[ -s secrets/nats_users.conf ] || rights=$(${VREID:-vreid} fleet rights)  # ends here where that fails, before it writes anything
[ -s secrets/nats_users.conf ] || cat > secrets/nats_users.conf <<USERS
# Accounts of the NATS server. A box's line, with a password of its own: { user: "BOX", password: "...", RIGHTS } where RIGHTS is what
# vreid fleet rights BOX --region REGION prints.
users: [
  { user: "operator", password: "$(cat secrets/nats_operator)" }
  { user: "centre", password: "$(cat secrets/nats_centre)", $rights }
]
USERS
chmod 644 ./*.pem
chown "$postgres" secrets/postgres_password secrets/postgres.key
chown "$vreid" secrets/pgpass secrets/nats_operator secrets/nats_centre secrets/serve.key
