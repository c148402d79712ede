{{/*
A map as TOML. Helm's own `toToml` writes 5 as 5.0 and 67108864 as 6.7108864e+07, because all numbers in values are floats,
and fails on an empty value. This writes integers as integers and leaves out nulls.

A table: dict "table" the map "path" its name, empty for the document. Keys of the table come first, then its sub-tables.
*/}}
{{- define "imgtag.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "invalid" $value) (kindIs "map" $value) (include "imgtag.toml.tables" $value)) }}
{{ include "imgtag.toml.key" $key }} = {{ include "imgtag.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- $name := include "imgtag.toml.key" $key }}
{{- if $path }}{{ $name = printf "%s.%s" $path $name }}{{ end }}
{{- if kindIs "map" $value }}

[{{ $name }}]
{{- include "imgtag.toml" (dict "table" $value "path" $name) }}
{{- else if include "imgtag.toml.tables" $value }}
{{- range $value }}

[[{{ $name }}]]
{{- include "imgtag.toml" (dict "table" . "path" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Not empty if the value is a list that contains only maps. */}}
{{- define "imgtag.toml.tables" -}}
{{- if and (kindIs "slice" .) . }}
{{- $maps := 0 }}
{{- range . }}{{ if kindIs "map" . }}{{ $maps = add1 $maps }}{{ end }}{{ end }}
{{- if eq (int $maps) (len .) }}true{{ end }}
{{- end }}
{{- end }}

{{- define "imgtag.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ include "imgtag.toml.text" . }}{{ end }}
{{- end }}

{{/* JSON strings are TOML strings, except for DEL. */}}
{{- define "imgtag.toml.text" -}}
{{- mustToRawJson . | replace "\u007f" "\\u007f" }}
{{- end }}

{{- define "imgtag.toml.value" -}}
{{- if kindIs "string" . }}{{ include "imgtag.toml.text" . }}
{{- else if kindIs "map" . }}
{{- $pairs := list }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $pairs = append $pairs (printf "%s = %s" (include "imgtag.toml.key" $key) (include "imgtag.toml.value" $value)) }}
{{- end }}
{{- end }}{ {{- join ", " $pairs -}} }
{{- else if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}
{{- if not (kindIs "invalid" .) }}{{ $items = append $items (include "imgtag.toml.value" .) }}{{ end }}
{{- end }}[{{ join ", " $items }}]
{{- else if and (kindIs "float64" .) (eq (floor .) .) (lt . 1e15) (gt . -1e15) }}{{ int64 . }}
{{- else }}{{ mustToRawJson . }}
{{- end }}
{{- end }}
