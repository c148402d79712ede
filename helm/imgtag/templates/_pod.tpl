{{/* Common to the sidecar's pods and that of `helm test`: identity, permissions, placement. */}}
{{- define "imgtag.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "imgtag.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service named imgtag would add IMGTAG_PORT and the like to the settings.
enableServiceLinks: false
{{- if .Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  {{- include "imgtag.volumes" . | nindent 2 }}
{{- end }}

{{/* A container with the sidecar's image, without name and arguments: dict "root" $ "brings" whether it provides the model. */}}
{{- define "imgtag.container" -}}
{{- with .root -}}
image: {{ include "imgtag.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "imgtag.env" . | nindent 2 }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
volumeMounts:
  {{- include "imgtag.mounts" . | nindent 2 }}
{{- end }}

{{- define "imgtag.env" -}}
- name: STATE_DIRECTORY
  value: /var/lib/imgtag
{{- if or .Values.secrets .Values.web.enabled (include "imgtag.markKeySecret" .) }}
- name: CREDENTIALS_DIRECTORY
  value: /run/secrets/imgtag
{{- end }}
{{- if and (dig "limits" "cpu" "" (.Values.resources | default dict)) (not (dig "pipeline" "workers" "" (include "imgtag.given" . | fromJson))) }}
# Rounded up. Without this there would be one worker for each core of the node.
- name: IMGTAG_PIPELINE__WORKERS
  valueFrom:
    resourceFieldRef: {resource: limits.cpu, divisor: "1"}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "imgtag.mounts" -}}
{{- $brings := .brings }}
{{- with .root -}}
- name: config
  mountPath: /etc/imgtag
  readOnly: true
{{- if or .Values.secrets .Values.web.enabled (include "imgtag.markKeySecret" .) }}
- name: secrets
  mountPath: /run/secrets/imgtag
  readOnly: true
{{- end }}
- name: state
  mountPath: /var/lib/imgtag
- name: tmp
  mountPath: /tmp
{{- if ne .Values.model.from "bundled" }}
- name: models
  mountPath: {{ include "imgtag.modelsFolder" . }}
  {{- if not $brings }}
  readOnly: true
  {{- end }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "imgtag.volumes" -}}
- name: config
  configMap:
    name: {{ include "imgtag.fullname" . }}
{{- if or .Values.secrets .Values.web.enabled (include "imgtag.markKeySecret" .) }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.secrets }}
      - secret:
          {{- toYaml . | nindent 10 }}
      {{- end }}
      {{- with include "imgtag.markKeySecret" . }}
      - secret:
          name: {{ . }}
          items: [{key: mark_key, path: mark_key}]
      {{- end }}
      {{- if .Values.web.enabled }}
      - secret:
          name: {{ .Values.web.token.existingSecret }}
          items: [{key: {{ .Values.web.token.key }}, path: web_token}]
      {{- end }}
{{- end }}
- name: state
  {{- if eq .Values.state.kind "claim" }}
  persistentVolumeClaim:
    claimName: {{ .Values.state.claim.existingClaim | default (include "imgtag.named" (dict "root" . "end" "state")) }}
  {{- else if eq .Values.state.kind "hostPath" }}
  hostPath:
    path: {{ .Values.state.hostPath }}
    type: Directory
  {{- else if .Values.state.sizeLimit }}
  emptyDir:
    sizeLimit: {{ .Values.state.sizeLimit }}
  {{- else }}
  emptyDir: {}
  {{- end }}
- name: tmp
  emptyDir: {}
{{- if eq .Values.model.from "claim" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.model.claim.name }}
    readOnly: true
{{- else if ne .Values.model.from "bundled" }}
- name: models
  {{- if .Values.model.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.model.existingClaim }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The containers that provide the model, if any are needed. */}}
{{- define "imgtag.model.container" -}}
{{- $model := .Values.model }}
{{- $folder := include "imgtag.modelsFolder" . }}
{{- if eq $model.from "bucket" }}
{{- range $place, $each := $model.bucket }}
- name: model{{ with $place }}-{{ . }}{{ end }}
  args:
    - models
    - add
    - {{ .object | quote }}
    - --name
    - {{ .name | quote }}
    {{- with .sha256 }}
    - --sha256
    - {{ . | quote }}
    {{- end }}
    # A previous pod may have left one with the same name.
    - --yes
  {{- include "imgtag.container" (dict "root" $ "brings" true) | nindent 2 }}
{{- end }}
{{- else if eq $model.from "image" }}
- name: model
  image: {{ include "imgtag.image" (dict "image" $model.image "tag" "") }}
  imagePullPolicy: {{ $model.image.pullPolicy }}
  command: [cp]
  args:
    {{- range $model.image.files }}
    - {{ . | quote }}
    {{- end }}
    - {{ $folder }}/
  {{- with .Values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: models
      mountPath: {{ $folder }}
{{- end }}
{{- end }}

{{/* The pod template of the sidecar. */}}
{{- define "imgtag.podTemplate" -}}
metadata:
  annotations:
    checksum/config: {{ include "imgtag.configFile" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # Without the chart's version: a new chart version alone must not replace pods.
  labels:
    {{- include "imgtag.selectorLabels" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "imgtag.pod" . | nindent 2 }}
  initContainers:
    {{- include "imgtag.model.container" . | indent 4 }}
    - name: config-check
      args: [config, check]
      {{- include "imgtag.container" (dict "root" .) | nindent 6 }}
  containers:
    - name: imgtag
      {{- if .Values.paused }}
      command: [sleep, infinity]
      {{- else }}
      args: [run]
      {{- end }}
      {{- include "imgtag.container" (dict "root" .) | nindent 6 }}
      ports:
        - name: ops
          containerPort: {{ include "imgtag.port" . }}
        {{- if .Values.web.enabled }}
        - name: web
          containerPort: {{ .Values.web.port }}
        {{- end }}
        {{- range .Values.service.extraPorts }}
        - name: {{ .name }}
          containerPort: {{ .port }}
        {{- end }}
      {{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" }}
      {{- with ternary nil (get $.Values $probe) $.Values.paused }}
      {{ $probe }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* The specification of a job that runs one command of the sidecar: dict "root" $ "job" an entry of `jobs`. */}}
{{- define "imgtag.job" -}}
# Within one pod its state stays, so a command that failed goes on where it was.
backoffLimit: 6
template:
  metadata:
    labels:
      {{- include "imgtag.labels" .root | nindent 6 }}
      app.kubernetes.io/component: job
  spec:
    {{- include "imgtag.pod" .root | nindent 4 }}
    restartPolicy: OnFailure
    {{- with include "imgtag.model.container" .root }}
    initContainers:
      {{- . | indent 6 }}
    {{- end }}
    containers:
      - name: {{ .job.name }}
        args:
          {{- toYaml .job.args | nindent 10 }}
        {{- include "imgtag.container" (dict "root" .root) | nindent 8 }}
{{- end }}
