#!/bin/sh
# Looks for drift and tells it in Markdown: which object, which field, what changed, who did it and when.
#
#   drift-report.sh [DIR]
#
# DIR (default: here) is an initialised configuration. Rights to read are enough, in Kubernetes (../rbac/reader.yaml) and
# for the state. Nothing is written but the report, to standard output.
#
# Exit code: 0 nothing differs, 2 something does, 1 it could not be found out.
# TERRAFORM names the CLI (default: terraform; tofu does too). Needs jq.
set -eu

cli=${TERRAFORM:-terraform}
dir=${1:-.}
for program in "$cli" jq; do
  command -v "$program" >/dev/null || { echo "drift-report: $program is not on PATH" >&2; exit 1; }
done

# A plan may hold values that are nobody's business: it is gone when the report is written.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

code=0
"$cli" -chdir="$dir" plan -json -input=false -lock=false -detailed-exitcode -out="$work/plan" >"$work/log" || code=$?

diagnostics() {
  jq --raw-input --raw-output --arg severity "$1" '
    fromjson? | select(.type == "diagnostic" and .diagnostic.severity == $severity) | .diagnostic
    | "- **\(.summary)**\(if .address then " (`\(.address)`)" else "" end): \(.detail // "" | gsub("\\s+"; " "))"
  ' "$work/log" | sort -u
}

if [ "$code" -ne 0 ] && [ "$code" -ne 2 ]; then
  printf '# Drift report\n\nThe plan failed, so nothing is known about drift.\n\n'
  diagnostics error
  exit 1
fi

"$cli" -chdir="$dir" show -json "$work/plan" >"$work/json"
jq --raw-output '
  # Set by the provider itself; "drift" is told entry by entry.
  def outputs: ["drift", "last_change", "ready", "agent_version", "system_identifier", "failover_bound_seconds"];
  def code: "`" + (tostring | gsub("[`|\n]"; " ")) + "`";
  def or_unknown: if . == null or . == "" then "not known" else code end;
  def values: if type == "string" then . else tojson end;
  def block($diff): "````diff\n" + ($diff | rtrimstr("\n")) + "\n````\n";

  # Attributes that differ between two sides of a change.
  def differing($was; $is):
    [($is // {} | keys[]) as $name | select(outputs | index($name) | not)
     | select(($was // {})[$name] != $is[$name])
     | {name: $name, was: (($was // {})[$name] | values), is: ($is[$name] | values)}];

  . as $plan
  | def moved($address): [$plan.resource_drift[]? | select(.address == $address)][0].change;

  # One cluster: what others changed, and what is planned beside that.
  def cluster:
    .change as $change | moved(.address) as $moved
    | ([$change.before.drift[]?]) as $entries
    | (if $moved and $moved.after then differing($moved.before; $moved.after) else [] end) as $attributes
    | (if $change.before == null or $change.after == null then [] else differing($change.before; $change.after) end
       | map(select(.name as $name | $attributes | all(.name != $name)))
       | map(select((.name as $name | $change.after_unknown[$name]) != true))) as $planned
    | {address, actions: $change.actions, entries: $entries, attributes: $attributes, planned: $planned,
       gone: ($moved != null and $moved.after == null),
       unfinished: ($change.before != null and $change.before.ready == false),
       story: ($change.after.last_change // null),
       id: (($change.before // $change.after // $moved.before) | "\(.namespace)/\(.name)")};

  def table:
    "| Object | Field | Changed by | When |", "|---|---|---|---|",
    (.attributes[] | "| the cluster | \(.name | code) | not known | not known |"),
    (.entries[] | "| \(.object | code) | \(if .field == "" then "(all of it)" else .field | code end) | \(.changed_by | or_unknown) | \(.changed_at | or_unknown) |"),
    "";
  def diffs:
    (.attributes[] | "**\(.name)**\n", block("-\(.was)\n+\(.is)")),
    (.entries[] | "**\(.object)**\(if .field == "" then "" else " " + .field end)\n", block(.diff));

  def section:
    "## \(.address) (\(.id))\n",
    (if .gone then "**The cluster is gone** from Kubernetes.\n" else empty end),
    (if .unfinished then "A change is half done: `ready` is false, and the next apply goes on with it.\n" else empty end),
    (if (.attributes + .entries) != [] then table, diffs else empty end),
    (if .planned != [] then
       "The configuration differs from what was applied:\n", (.planned[] | "- \(.name | code): \(.was | code) becomes \(.is | code)"), ""
     else empty end),
    (if .actions != ["no-op"] then "An apply would \(.actions | join(" and "))\(if .story then ": \(.story)" else "" end).\n" else empty end);

  [$plan.resource_changes[]? | select(.mode == "managed")] as $all
  | [$all[] | select(.type == "postgres_ha_cluster") | cluster
     | select(.actions != ["no-op"] or .entries != [] or .attributes != [] or .gone)] as $clusters
  | [$all[] | select(.type != "postgres_ha_cluster" and .change.actions != ["no-op"])] as $others
  | "# Drift report\n",
    (if $clusters == [] and $others == [] then "Nothing differs: \($all | length) resources were compared with what is live.\n" else empty end),
    ($clusters[] | section),
    (if $others != [] then "## Other resources with a planned change\n", ($others[] | "- \(.address | code): \(.change.actions | join(" and "))"), "" else empty end)
' "$work/json"

warnings=$(diagnostics warning)
if [ -n "$warnings" ]; then
  printf '## Warnings\n\n%s\n' "$warnings"
fi
exit "$code"
