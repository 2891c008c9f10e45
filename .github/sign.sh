#!/bin/sh
# Sign an image and what is said of it, before a tag names it: publish --before-tag .github/sign.sh
# The last argument is the image; others go to cosign. Without a key, who signs is the identity of the CI's job.
set -eu
cosign sign --yes "$@"
for type in cyclonedx spdxjson slsaprovenance1; do
  cosign attest --yes --type "${type}" --predicate "${HELIOIMAGES_PREDICATES}/${type}.json" "$@"
done
cosign attest --yes --type https://in-toto.io/attestation/reference/v0.1 \
  --predicate "${HELIOIMAGES_PREDICATES}/reference.json" "$@"
