{{- define "imgtag.notes" -}}
{{- $name := include "imgtag.fullname" . -}}
{{- $where := printf "%s/%s" (lower .Values.kind) $name -}}
{{- $config := include "imgtag.config" . | fromJson -}}
imgtag-sidecar {{ .Chart.AppVersion }} is installed as {{ .Values.kind }} {{ $name }} in {{ .Release.Namespace }}
{{- if eq .Values.kind "DaemonSet" }}, one sidecar on each node{{ range $key, $value := .Values.nodeSelector }} with {{ $key }}={{ $value }}{{ end }}.
{{- else }}, {{ .Values.replicas }} replica{{ if ne (int .Values.replicas) 1 }}s{{ end }}.
{{- end }}
{{- with $config.rules }}
Labelled are:{{ range . }} {{ .bucket }}{{ end }}. Other buckets are never touched.
{{- end }}

See it work:

  kubectl --namespace {{ .Release.Namespace }} rollout status {{ $where }}
  kubectl --namespace {{ .Release.Namespace }} exec {{ $where }} -- imgtag doctor
{{- if hasKey ($config.store | default dict) "s3" }}
  kubectl --namespace {{ .Release.Namespace }} exec -it {{ $where }} -- imgtag setup   # once: notifications of the buckets
{{- end }}
{{- if include "imgtag.testMade" . }}
  helm --namespace {{ .Release.Namespace }} test {{ .Release.Name }}   # sends a picture through everything, and removes it
{{- else }}
  kubectl --namespace {{ .Release.Namespace }} exec {{ $where }} -- imgtag doctor --send   # a picture through everything
{{- end }}

Where a pod stays in Init:Error or Init:CrashLoopBackOff, the configuration is refused, and this says why:

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
WARNING: the index is a file in an emptyDir: each new pod begins without one and makes it anew from the store.
Keep it with state.kind=claim.
{{ end }}
{{- if and (not .Values.secrets) (regexMatch "_file\":\"[^/]" ($config | mustToJson)) }}
WARNING: config names files with secrets, and `secrets` is empty: nothing is mounted where they are looked for.
{{ end }}
{{- if and .Values.podDisruptionBudget.enabled $one }}
WARNING: a PodDisruptionBudget over one replica may keep nodes from being drained for ever.
{{ end }}
{{- if .Values.paused }}
WARNING: the sidecar is paused and labels nothing, until it is upgraded with paused=false.
{{ end }}
{{- if .Values.hostNetwork }}
WARNING: hostNetwork: health and metrics are open, without a password, on port {{ include "imgtag.port" . }} of each node's addresses
{{- if .Values.networkPolicy.enabled }}, and no NetworkPolicy holds there{{ end }}.
{{ end }}
{{- if and (eq .Values.kind "Deployment") (gt (int .Values.replicas) 1) .Values.hostNetwork }}
WARNING: hostNetwork and replicas: two sidecars on one node want the same port, and the second does not start.
{{ end }}
{{- if eq .Values.model.from "bucket" }}
{{- range .Values.model.bucket }}
{{- if not .sha256 }}
WARNING: the model {{ .name }} comes from {{ .object }} without its sha256: whoever may write there chooses the model.
{{ end }}
{{- end }}
{{- end }}
{{- if and (not .Values.image.digest) (eq (.Values.image.tag | default "") "latest") }}
WARNING: image.tag is latest: pods may run different versions, and a rollback brings nothing back.
{{ end }}
{{- if and (.Values.resources | default dict).limits (not (dig "limits" "cpu" "" (.Values.resources | default dict))) (not (dig "pipeline" "workers" "" (include "imgtag.given" . | fromJson))) (dig "limits" "memory" "" (.Values.resources | default dict)) }}
WARNING: resources.limits.memory is set, and neither limits.cpu nor config.pipeline.workers: there is a worker for each core of the
node, and each may use config.pipeline.worker_memory.
{{ end }}
{{- end }}

{{/* With the index in an emptyDir only the sidecar's own pod can see it. */}}
{{- define "imgtag.testMade" -}}
{{- if and .Values.test.enabled (not (and (include "imgtag.embeddedIndex" .) (eq .Values.state.kind "emptyDir"))) }}true{{ end }}
{{- end }}
