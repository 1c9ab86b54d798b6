#!/bin/sh
# Looks for drift and tells it in Markdown: which object, which field, what changed, who did it and when.
#
#   drift-report.sh [DIR]
#
# DIR (default: here) is an initialised configuration. Rights to read are enough, in Kubernetes (../rbac/reader.yaml) and
# for the state. Nothing is written but the report, to standard output. What the configuration marks as sensitive reads
# "(sensitive)" there.
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
jq --raw-input --compact-output 'fromjson? | objects | select(.type == "diagnostic") | .diagnostic' "$work/log" >"$work/diagnostics"

if [ "$code" -ne 0 ] && [ "$code" -ne 2 ]; then
  printf '# Drift report\n\nThe plan failed, so nothing is known about drift.\n\n'
  jq --raw-output 'select(.severity == "error")
    | "- **\(.summary)**\(if .address then " (`\(.address)`)" else "" end): \(.detail // "" | gsub("\\s+"; " "))"
  ' "$work/diagnostics" | sort -u
  exit 1
fi

"$cli" -chdir="$dir" show -json "$work/plan" >"$work/json" || exit 1
jq --raw-output --argjson code "$code" --slurpfile diagnostics "$work/diagnostics" '
  # Set by the provider itself; "drift" is told entry by entry.
  def outputs: ["drift", "last_change", "ready", "agent_version", "system_identifier", "failover_bound_seconds"];
  def code: "`" + (tostring | gsub("[`|\n]"; " ")) + "`";
  def or_unknown: if . == null or . == "" then "not known" else code end;
  def values: if type == "string" then . else tojson end;
  def block($diff): "````diff\n" + ($diff | rtrimstr("\n")) + "\n````\n";

  # A mark is true for a value that is sensitive as a whole; else it has the shape of the value.
  def marked: any(..; . == true);
  def veiled($mark):
    if . == null or ($mark | marked | not) then .
    elif type == "object" and ($mark | type) == "object" then
      reduce ($mark | keys[]) as $name (.; if has($name) then .[$name] |= veiled($mark[$name]) else . end)
    # A list goes as a whole: its elements may stand elsewhere than the marks say by now.
    else "(sensitive)" end;
  def veil($marks): reduce $marks[] as $mark (.; veiled($mark));
  def marks: .before_sensitive, .after_sensitive;
  # The texts that a mark covers.
  def covered($mark):
    if . == null or ($mark | marked | not) then empty
    elif type == "object" and ($mark | type) == "object" then . as $value | $mark | keys[] as $name | $value[$name] | covered($mark[$name])
    else .. | strings end;

  . as $plan
  # They may stand in other texts too, such as a warning. Short ones stand anywhere by chance.
  | ([$plan.resource_changes[]?.change, $plan.resource_drift[]?.change, $plan.output_changes[]?
      | marks as $mark | .before, .after | covered($mark) | select(length > 5) | ., (tojson | .[1:-1])]
     | unique | sort_by(-length)) as $texts
  | def hide: reduce $texts[] as $text (.; split($text) | join("(sensitive)"));

  def moved($address): [$plan.resource_drift[]? | select(.address == $address)][0].change;
  def warnings: $diagnostics[] | select(.severity == "warning") | .outside = (.summary | endswith("was changed outside of Terraform"));
  # Who changed an attribute in the cluster, and when: a warning of the refresh says it.
  def changed($address; $name):
    [warnings | select(.outside and .address == $address) | .detail
     | capture("(?:^|; )" + $name + " is [^;]*: by \"(?<by>[^\"]*)\" at (?<at>[^,;]*), in ")][0];

  # Attributes that differ between two sides of a change.
  def differing($was; $is; $marks):
    [($is // {} | keys[]) as $name | select(outputs | index($name) | not)
     | select(($was // {})[$name] != $is[$name])
     | {name: $name, was: (($was // {} | veil($marks))[$name] | values), is: (($is | veil($marks))[$name] | values)}];

  # An entry of "drift" in whose object a sensitive attribute may stand: the provider is not told which ones are.
  def shown($sides; $marks):
    ([$sides[] | objects | to_entries[] | select(.value != null) | .key | select(. as $name | any($marks[]; objects | .[$name] | marked))]) as $names
    | (.field | ascii_downcase) as $field
    | if (if .object | startswith("ConfigMap/") then $names != []
          elif .object | startswith("PostgreSQL/") then
            any($marks[] | objects | .parameters; . == true or (objects | with_entries(.key |= ascii_downcase) | .[$field]) == true)
          else $names - ["parameters", "pg_hba"] != [] end)
      then .diff = "(sensitive)" else . end;

  # One cluster: what others changed, and what is planned beside that.
  def cluster:
    .address as $address | .change as $change | moved($address) as $moved
    | [$change, $moved | objects | marks] as $marks | [$change, $moved | objects | .before, .after] as $sides
    | ([$change.before.drift[]? | shown($sides; $marks)]) as $entries
    | (if $moved and $moved.after then differing($moved.before; $moved.after; $marks) else [] end
       | map(. + {changed: changed($address; .name)})) as $attributes
    | (if $change.before == null or $change.after == null then [] else differing($change.before; $change.after; $marks) end
       | map(select(.name as $name | $attributes | all(.name != $name)))
       | map(select((.name as $name | $change.after_unknown[$name]) != true))) as $planned
    | {address, actions: $change.actions, entries: $entries, attributes: $attributes, planned: $planned,
       previous_address, importing: ($change.importing != null),
       gone: ($moved != null and $moved.after == null),
       unfinished: ($change.before != null and $change.before.ready == false),
       story: ($change.after.last_change // null),
       id: (($change.before // $change.after // $moved.before) | veil($marks) | "\(.namespace)/\(.name)")};

  def table:
    "| Object | Field | Changed by | When |", "|---|---|---|---|",
    (.attributes[] | "| the cluster | \(.name | code) | \(.changed.by | or_unknown) | \(.changed.at | or_unknown) |"),
    (.entries[] | "| \(.object | code) | \(if .field == "" then "(all of it)" else .field | code end) | \(.changed_by | or_unknown) | \(.changed_at | or_unknown) |"),
    "";
  def diffs:
    (.attributes[] | "**\(.name)**\n", block("-\(.was)\n+\(.is)")),
    (.entries[] | "**\(.object)**\(if .field == "" then "" else " " + .field end)\n", block(.diff));

  # What makes a plan without a change to anything that lives.
  def bookkeeping:
    (if .previous_address then "It was \(.previous_address | code) until now: a `moved` block was not applied yet.\n" else empty end),
    (if .importing then "It is not in the state yet: an `import` block was not applied.\n" else empty end);

  def section:
    "## \(.address) (\(.id))\n",
    (if .gone then "**The cluster is gone** from Kubernetes.\n" else empty end),
    (if .unfinished then "A change is half done: `ready` is false, and the next apply goes on with it.\n" else empty end),
    bookkeeping,
    (if (.attributes + .entries) != [] then table, diffs else empty end),
    (if .planned != [] then
       "The configuration differs from what was applied:\n", (.planned[] | "- \(.name | code): \(.was | code) becomes \(.is | code)"), ""
     else empty end),
    (if .actions != ["no-op"] then "An apply would \(.actions | join(" and "))\(if .story then ": \(.story)" else "" end).\n" else empty end);

  def words:
    [if .change.actions != ["no-op"] then .change.actions | join(" and ") else empty end,
     if .previous_address then "moved from " + (.previous_address | code) else empty end,
     if .change.importing != null then "imported" else empty end] | join(", ");
  def output:
    .value as $change | [$change | marks] as $marks
    | def side($value): $value | veil($marks) | values | code;
    "- \(.key | code): \(side($change.before)) becomes \(if $change.after_unknown == true then "what the apply gives" else side($change.after) end)";
  def warning: .outside as $outside |
    "- **\(.summary)**\(if .address then " (\(.address | code))" else "" end): "
    # Its values are told above, or are sensitive.
    + (.detail // "" | gsub("\\s+"; " ") | if $outside then gsub(" is [^;]*: by \""; ": by \"") else . end);

  [$plan.resource_changes[]? | select(.mode == "managed")] as $all
  | [$all[] | select(.type == "postgres_ha_cluster") | cluster
     | select(.actions != ["no-op"] or .entries != [] or .attributes != [] or .gone or .previous_address or .importing)] as $clusters
  | [$plan.resource_changes[]? | select(.type != "postgres_ha_cluster" or .mode != "managed") | {address, words: words} | select(.words != "")] as $others
  | [$plan.output_changes // {} | to_entries[] | select(.value.actions != ["no-op"])] as $values
  | [warnings | warning] as $warnings
  | "# Drift report\n",
    (if ($clusters + $others + $values) != [] then empty
     elif $code == 0 then "Nothing differs: \($all | length) resources were compared with what is live.\n"
     else "Something differs that this report has no words for: `plan` shows it.\n" end),
    ($clusters[] | section),
    (if $others != [] then "## Other resources with a planned change\n", ($others[] | "- \(.address | code): \(.words)"), "" else empty end),
    (if $values != [] then "## Outputs with another value\n", ($values[] | output), "" else empty end),
    (if $warnings != [] then "## Warnings\n", ($warnings | unique[]) else empty end)
  | hide
' "$work/json" || exit 1
exit "$code"
