{{/* Names have at most 63 characters, like DNS labels. */}}
{{- define "imgtag.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "imgtag.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $both .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A name with an ending: dict "root" $ "end" "state". */}}
{{- define "imgtag.named" -}}
{{- $room := sub 62 (len .end) | int }}
{{- printf "%s-%s" (include "imgtag.fullname" .root | trunc $room | trimSuffix "-") .end }}
{{- end }}

{{- define "imgtag.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "imgtag.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Labels of all pods of a release, including that of `helm test`. */}}
{{- define "imgtag.releaseLabels" -}}
app.kubernetes.io/name: {{ include "imgtag.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "imgtag.selectorLabels" -}}
{{ include "imgtag.releaseLabels" . }}
app.kubernetes.io/component: sidecar
{{- end }}

{{- define "imgtag.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "imgtag.releaseLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image: dict "image" .Values.image "tag" "the default". */}}
{{- define "imgtag.image" -}}
{{- $tag := .image.tag | default .tag }}
{{- .image.repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .image.digest }}@{{ . }}{{ end }}
{{- end }}
