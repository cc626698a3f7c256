#!/usr/bin/env bash
# Reviews a policy change: lint, the policy's own tests, and who gains and who loses against a base revision.
#
# usage: review.sh BASE [POLICY]
#   BASE    the git revision that the change is compared with, as origin/main
#   POLICY  the policy file, below the current folder (default: policy.yaml)
#
# Environment:
#   REPORT         file that gets the report as Markdown (default: policy-review.md)
#   JUNIT          file that gets the tests' results as JUnit's XML (default: policy-tests.xml), in any case: where there
#                  are none, because of a mistake or because the policy has no tests, what lint says
#   SETTINGS       the gate's settings file, as authz.yaml: lint and the tests also compare the policy with it. Its
#                  `policy` must be POLICY
#   STRICT         true: a warning of lint is a failure
#   FAIL_UNDER     a number, as 90: it is a failure if the tests cover less than so many percent of the rules, or of
#                  their conditions
#   FAIL_ON_WIDEN  true: it is a failure if anyone gains anything
#
# Exit status: 0 nothing is wrong; 1 a mistake, a failing test, or one of the failures above;
# 2 BASE or FAIL_UNDER cannot be read, or BASE has a link in the place of POLICY.
set -euo pipefail

base=${1:?usage: review.sh BASE [POLICY]}
policy=${2:-policy.yaml}
report=${REPORT:-policy-review.md}
junit=${JUNIT:-policy-tests.xml}
settings=${SETTINGS:-}
strict=${STRICT:-false}
least=${FAIL_UNDER:-}
status=0
lint=(authz lint) tests=(authz test --junit "$junit")
if [ -n "$settings" ]; then
  lint+=(--settings "$settings") tests+=(--settings "$settings")
fi

if [ -n "$least" ] && ! [[ $least =~ ^(100|[0-9]{1,2}(\.[0-9]+)?)$ ]]; then
  echo "error: FAIL_UNDER is $least: give a percentage from 0 to 100, as 90" >&2
  exit 2
fi

git rev-parse --quiet --verify --end-of-options "$base^{commit}" >/dev/null || {
  echo "error: $base is no revision of this repository: fetch it first" >&2
  exit 2
}

# Behind a link BASE has no file, as if the policy were new.
above=$policy
while [ "$above" != . ] && [ "$above" != / ]; do
  case $(git ls-tree "$base^{commit}" -- "$above") in
  120000*)
    echo "error: \`$above\` is a symbolic link in $base: give the path that it leads to" >&2
    exit 2
    ;;
  esac
  above=$(dirname -- "$above")
done

# Writes what lint says as JUnit's XML: characters that XML does not have are left out.
write_findings() {
  local text failure=
  text=$(tr -d '\000-\010\013\014\016-\037' <<<"$findings" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')
  [ "$status" = 0 ] || failure="<failure message=\"$refusal\" type=\"lint\">$text</failure>"
  printf '<?xml version="1.0" encoding="utf-8"?>\n<testsuites><testsuite name="policy" tests="1" failures="%s">' \
    "$status" >"$junit"
  printf '<testcase name="lint" classname="policy">%s</testcase></testsuite></testsuites>\n' "$failure" >>"$junit"
}

rm -f "$junit" # that of an earlier policy
{ echo "## $policy against $base"; echo; } >"$report"

# Lint loads the policy as a gate does, and so it runs the policy's tests.
refusal=
if ! findings=$("${lint[@]}" -- "$policy" 2>&1); then
  refusal="the gate would refuse the policy"
elif [ "$strict" = true ] && ! "${lint[@]}" --strict -- "$policy" >/dev/null 2>&1; then
  refusal="there are warnings"
fi
[ -z "$refusal" ] || status=1
printf 'Lint: %s\n\n```text\n%s\n```\n\n' "${refusal:+**}${refusal:-the gate accepts the policy}${refusal:+**}" \
  "$findings" >>"$report"
printf '%s\n' "$findings"

# 0: all pass; 2: a mistake, which lint has said, or no tests, which is a failure only where they are to cover something.
ran=0
if [ -n "$least" ]; then
  said=$("${tests[@]}" --fail-under "$least" -- "$policy" 2>&1) || ran=$?
  printf 'Tests and what they cover (at least %s %% asked for):\n\n```text\n%s\n```\n\n' "$least" "$said" >>"$report"
  printf '%s\n' "$said"
  [ "$ran" = 0 ] || status=1
elif [ "$status" = 0 ]; then
  "${tests[@]}" -- "$policy" || ran=$?
else
  "${tests[@]}" -- "$policy" 2>/dev/null || ran=$?
fi
[ "$ran" = 1 ] && status=1
[ -e "$junit" ] || write_findings

# The comparison is shown whatever lint says of the tests: only a mistake in the rest of the policy prevents it.
if git cat-file -e "$base:./$policy" 2>/dev/null; then
  compared=0
  authz diff -- "git:$base:$policy" "$policy" || compared=$?
  if [ "$compared" = 0 ]; then
    authz diff --markdown -- "git:$base:$policy" "$policy" 2>/dev/null >>"$report"
    if [ "${FAIL_ON_WIDEN:-false}" = true ]; then
      authz prove no-new-access -- "git:$base:$policy" "$policy" >/dev/null 2>&1 || status=1
    fi
  elif [ -z "$refusal" ]; then
    exit "$compared" # lint accepts the policy, so it is that of BASE
  else
    echo "One of the two policies cannot be read, so there is no comparison." | tee -a "$report"
  fi
else
  echo "$policy is new: there is nothing to compare it with." | tee -a "$report"
fi
exit "$status"
