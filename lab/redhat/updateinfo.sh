#!/bin/sh
# Prints the advisories of the repository $1: one for the second release of each source.
set -eu
# advisory ID TYPE SEVERITY TITLE PACKAGE...; of the stream of a module where `stream` names one
advisory() {
    printf '<update from="lab" status="final" type="%s" version="1"><id>%s</id><title>%s</title>' "$2" "$1" "$4"
    printf '<issued date="2026-11-02 00:00:00"/><updated date="2026-11-02 00:00:00"/><severity>%s</severity>' "$3"
    printf '<description>%s</description><references/><pkglist><collection short="el9"><name>el9</name>%s\n' "$4" \
        "${stream:+<module name=\"nodejs\" stream=\"$stream\" version=\"9\" context=\"1\" arch=\"x86_64\"/>}"
    shift 4
    for package in "$@"; do
        rpm --query --nosignature --queryformat '<package name="%{NAME}" version="%{VERSION}" release="%{RELEASE}"
            epoch="%|EPOCH?{%{EPOCH}}:{0}|" arch="%{ARCH}" src="%{SOURCERPM}"><filename>%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm
            </filename></package>\n' --package "$package" | tr -d '\n' | sed 's/rpm *</rpm</g'
    done
    echo '</collection></pkglist></update>'
}
echo '<?xml version="1.0" encoding="UTF-8"?><updates>'
advisory LAB-SA-2026:0001 security Important 'openssl: an update for security' "$1"/*/openssl-*-2.el9.*.rpm
advisory LAB-BA-2026:0002 bugfix None 'php: an update for bugs' "$1"/*/php-*-2.el9.*.rpm
advisory LAB-EA-2026:0003 enhancement None 'mailcap: more types' "$1"/*/mailcap-*-2.el9.*.rpm
for stream in 18 20; do
    advisory LAB-SA-2026:00$stream security Moderate "nodejs:$stream: an update for security" \
        "$1"/noarch/nodejs-$stream.*-2.module.el9.*.rpm
done
echo '</updates>'
