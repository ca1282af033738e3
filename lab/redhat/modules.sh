#!/bin/sh
# Prints the streams of the module of which the repository $1 has packages.
set -eu
for stream in 18 20; do
    cat <<END
---
document: modulemd
version: 2
data:
  name: nodejs
  stream: "$stream"
  version: 9
  context: "1"
  arch: x86_64
  summary: A program that comes in streams
  description: A program that comes in streams.
  license: {module: [MIT]}
  dependencies:
    - requires: {platform: [el9]}
  artifacts:
    rpms:
END
    rpm --query --nosignature --queryformat '      - "%{NAME}-%{EPOCH}:%{VERSION}-%{RELEASE}.%{ARCH}"\n' \
        --package "$1"/noarch/nodejs-"$stream".*.rpm
    echo ...
done
