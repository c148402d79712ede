{{- define "imgtag.notes" -}}
{{- $name := include "imgtag.fullname" . -}}
{{- $where := printf "%s/%s" (lower .Values.kind) $name -}}
{{- $config := include "imgtag.config" . | fromJson -}}
imgtag-sidecar {{ .Chart.AppVersion }} is installed as {{ .Values.kind }} {{ $name }} in {{ .Release.Namespace }}
{{- if eq .Values.kind "DaemonSet" }}, one sidecar on each node{{ range $key, $value := .Values.nodeSelector }} with {{ $key }}={{ $value }}{{ end }}.
{{- else }}, {{ .Values.replicas }} replica{{ if ne (int .Values.replicas) 1 }}s{{ end }}.
{{- end }}
{{- with $config.rules }}
It labels these buckets:{{ range . }} {{ .bucket }}{{ end }}. It never touches other buckets.
{{- end }}

Try it:

  kubectl --namespace {{ .Release.Namespace }} rollout status {{ $where }}
  kubectl --namespace {{ .Release.Namespace }} exec {{ $where }} -- imgtag doctor
{{- if hasKey ($config.store | default dict) "s3" }}
  kubectl --namespace {{ .Release.Namespace }} exec -it {{ $where }} -- imgtag setup   # once: notifications of the buckets
{{- end }}
{{- if include "imgtag.testMade" . }}
  helm --namespace {{ .Release.Namespace }} test {{ .Release.Name }}   # sends a test image through every step, and removes it
{{- else }}
  kubectl --namespace {{ .Release.Namespace }} exec {{ $where }} -- imgtag doctor --send   # sends a test image through every step
{{- end }}

If a pod stays in Init:Error or Init:CrashLoopBackOff, the sidecar refuses the configuration. This shows why:

  kubectl --namespace {{ .Release.Namespace }} logs {{ $where }} --container config-check
{{- with include "imgtag.warnings" . | trim }}

{{ . }}
{{- end }}
{{- end }}

{{/* One paragraph for each value that deserves a second look. */}}
{{- define "imgtag.warnings" -}}
{{- $config := include "imgtag.config" . | fromJson }}
{{- $one := and (eq .Values.kind "Deployment") (le (int .Values.replicas) 1) }}
{{- if and (include "imgtag.embeddedIndex" .) (eq .Values.state.kind "emptyDir") }}
WARNING: the index is a file in an emptyDir: each new pod starts without it and rebuilds it from the store.
To keep it, set state.kind=claim.
{{ end }}
{{- if and (not .Values.secrets) (regexMatch "_file\":\"[^/]" ($config | mustToJson)) }}
WARNING: config names files with secrets, but `secrets` is empty: nothing is mounted where the sidecar looks for them.
{{ end }}
{{- if and .Values.podDisruptionBudget.enabled $one }}
WARNING: with one replica, a PodDisruptionBudget can block the draining of nodes for ever.
{{ end }}
{{- if .Values.paused }}
WARNING: the sidecar is paused and labels nothing until you upgrade with paused=false.
{{ end }}
{{- if .Values.hostNetwork }}
WARNING: with hostNetwork, health and metrics are open without a password on port {{ include "imgtag.port" . }} of each node
{{- if .Values.networkPolicy.enabled }}, and no NetworkPolicy applies there{{ end }}.
{{ end }}
{{- if and (eq .Values.kind "Deployment") (gt (int .Values.replicas) 1) .Values.hostNetwork }}
WARNING: with hostNetwork and several replicas, two sidecars on one node need the same port, and the second does not start.
{{ end }}
{{- if eq .Values.model.from "bucket" }}
{{- range .Values.model.bucket }}
{{- if not .sha256 }}
WARNING: the model {{ .name }} comes from {{ .object }} without its sha256: anyone who can write there can replace the model.
{{ end }}
{{- end }}
{{- end }}
{{- if and (not .Values.image.digest) (eq (.Values.image.tag | default "") "latest") }}
WARNING: image.tag is latest: pods may run different versions, and a rollback changes nothing.
{{ end }}
{{- if and (.Values.resources | default dict).limits (not (dig "limits" "cpu" "" (.Values.resources | default dict))) (not (dig "pipeline" "workers" "" (include "imgtag.given" . | fromJson))) (dig "limits" "memory" "" (.Values.resources | default dict)) }}
WARNING: resources.limits.memory is set, but neither limits.cpu nor config.pipeline.workers: there is a worker for each core of the
node, and each may use config.pipeline.worker_memory.
{{ end }}
{{- end }}

{{/* Only the sidecar's own pod can see an index in an emptyDir. */}}
{{- define "imgtag.testMade" -}}
{{- if and .Values.test.enabled (not (and (include "imgtag.embeddedIndex" .) (eq .Values.state.kind "emptyDir"))) }}true{{ end }}
{{- end }}
