{{/* A map without its nulls, as JSON. When a null removes a value of another file, Helm leaves the null. */}}
{{- define "imgtag.compact" -}}
{{- $kept := dict }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- $_ := set $kept $key (include "imgtag.compact" $value | fromJson) }}
{{- else if not (kindIs "invalid" $value) }}
{{- $_ := set $kept $key $value }}
{{- end }}
{{- end }}
{{- $kept | mustToJson }}
{{- end }}

{{/* The configuration in the values, as JSON. */}}
{{- define "imgtag.given" -}}
{{- include "imgtag.compact" (.Values.config | default dict) }}
{{- end }}

{{/* The effective configuration, as JSON: the chart's own settings, overridden by `config`. */}}
{{- define "imgtag.config" -}}
{{- $own := dict "ops" (dict "listen" "0.0.0.0:9464") }}
{{- if .Values.localStore.enabled }}
{{- $service := include "imgtag.named" (dict "root" . "end" "store") }}
{{- $endpoint := printf "%s://%s:%v" .Values.localStore.scheme $service (int .Values.localStore.port) }}
{{- $_ := set $own "store" (dict "s3" (dict "endpoint" $endpoint)) }}
{{- end }}
{{- with include "imgtag.model.setting" . }}
{{- $_ := set $own "classifier" (dict "tflite" (dict "model" .)) }}
{{- end }}
{{- if include "imgtag.markKeySecret" . }}
{{- $_ := set $own "labels" (dict "mark_key_file" "mark_key") }}
{{- end }}
{{- if .Values.web.enabled }}
{{- $web := dict "listen" (printf "0.0.0.0:%d" (int .Values.web.port)) "token_file" "web_token" }}
{{- if .Values.web.ingress.enabled }}
{{- $_ := set $web "hosts" (list .Values.web.ingress.host) }}
{{- end }}
{{- $_ := set $own "web" $web }}
{{- end }}
{{- mustMergeOverwrite $own (include "imgtag.given" . | fromJson) | mustToJson }}
{{- end }}

{{/* The Secret with the mark key; empty if `config` or `env` names the key itself, or the admin wants none. */}}
{{- define "imgtag.markKeySecret" -}}
{{- $own := dig "labels" "mark_key_file" "" (include "imgtag.given" . | fromJson) }}
{{- range .Values.env }}{{ if hasPrefix "IMGTAG_LABELS__MARK_KEY" .name }}{{ $own = .name }}{{ end }}{{ end }}
{{- if $own }}
{{- else if .Values.markKey.existingSecret }}{{ .Values.markKey.existingSecret }}
{{- else if .Values.markKey.create }}{{ include "imgtag.named" (dict "root" . "end" "mark-key") }}
{{- end }}
{{- end }}

{{- define "imgtag.configFile" -}}
# Written by the chart from `config` of its values.
{{ include "imgtag.toml" (dict "table" (include "imgtag.config" . | fromJson) "path" "") }}
{{- end }}

{{/* The port for health and metrics. */}}
{{- define "imgtag.port" -}}
{{- (include "imgtag.config" . | fromJson).ops.listen | splitList ":" | last }}
{{- end }}

{{- define "imgtag.modelsFolder" -}}
/var/lib/imgtag/models
{{- end }}

{{/* `classifier.tflite.model`, if the chart provides the model. */}}
{{- define "imgtag.model.setting" -}}
{{- $folder := include "imgtag.modelsFolder" . }}
{{- if eq .Values.model.from "bucket" }}{{ with .Values.model.bucket }}{{ (first .).name }}{{ end }}
{{- else if eq .Values.model.from "claim" }}{{ $folder }}/{{ .Values.model.claim.path }}
{{- else if eq .Values.model.from "image" }}{{ with .Values.model.image.files }}{{ $folder }}/{{ first . | base }}{{ end }}
{{- end }}
{{- end }}

{{/* Whether the index is a file in the state folder. */}}
{{- define "imgtag.embeddedIndex" -}}
{{- $config := include "imgtag.config" . | fromJson }}
{{- $indexer := $config.indexer | default dict }}
{{- if or (hasKey $indexer "sqlite") (and (not $indexer) (hasKey ($config.store | default dict) "directory")) }}true{{ end }}
{{- end }}

{{/* Whether only the pods of one node can use the state: a claim without ReadWriteMany. An existing claim is assumed to be one. */}}
{{- define "imgtag.stateOfOneNode" -}}
{{- if and (eq .Values.state.kind "claim") (not (has "ReadWriteMany" .Values.state.claim.accessModes)) }}true{{ end }}
{{- end }}

{{/* Checks that the schema cannot express; each message says what to do. The ConfigMap includes them, because it always exists. */}}
{{- define "imgtag.validate" -}}
{{- $config := include "imgtag.given" . | fromJson }}
{{- $daemons := eq .Values.kind "DaemonSet" }}
{{- if not ($config.store | default dict) }}
{{- if not .Values.localStore.enabled }}
{{- fail "\n\nconfig.store is missing: name the store to label, for example with config.store.s3.endpoint, or see the examples in the README of the chart." }}
{{- end }}
{{- end }}
{{- if and (hasKey ($config.store | default dict) "s3") (not $config.rules) }}
{{- fail "\n\nconfig.rules is missing, and imgtag never touches a bucket that no rule names. Write config.rules: [{bucket: NAME}] for each bucket to label." }}
{{- end }}
{{- include "imgtag.validate.secrets" . }}
{{- include "imgtag.validate.texts" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "imgtag.fullname" .)) }}
{{- fail (printf "\n\nThe name %q cannot be the name of a Service: it must begin with a lower-case letter and contain only letters, digits and dashes. Set fullnameOverride." (include "imgtag.fullname" .)) }}
{{- end }}
{{- $listen := (include "imgtag.config" . | fromJson).ops.listen | toString }}
{{- if or (not (regexMatch ":[0-9]+$" $listen)) (hasPrefix "127." $listen) (hasPrefix "localhost:" $listen) (hasPrefix "[::1]:" $listen) }}
{{- fail (printf "\n\nconfig.ops.listen is %q, where the kubelet's probes cannot reach it: remove it, or use an address of the pod such as 0.0.0.0:9464 or [::]:9464." $listen) }}
{{- end }}
{{- if eq (include "imgtag.port" . | int) 0 }}
{{- fail "\n\nconfig.ops.listen has port 0: give the port number, so that probes and the Service can find it." }}
{{- end }}
{{- if .Values.web.enabled }}
{{- if not .Values.web.token.existingSecret }}
{{- fail "\n\nweb.enabled is true: name an existing Secret with the token of the search page in web.token.existingSecret." }}
{{- end }}
{{- if dig "web" "listen" "" $config }}
{{- fail "\n\nweb.enabled and config.web.listen both say where the search page listens: keep web.port." }}
{{- end }}
{{- if and .Values.web.ingress.enabled (not .Values.web.ingress.host) }}
{{- fail "\n\nweb.ingress.enabled is true: name the host in web.ingress.host." }}
{{- end }}
{{- range .Values.service.extraPorts }}
{{- if eq .name "web" }}
{{- fail "\n\nservice.extraPorts has a port `web`, which web.enabled makes itself: remove it." }}
{{- end }}
{{- end }}
{{- if eq (int .Values.web.port) (include "imgtag.port" . | int) }}
{{- fail "\n\nweb.port is also the port of health and metrics: give it another one." }}
{{- end }}
{{- else if .Values.web.ingress.enabled }}
{{- fail "\n\nweb.ingress.enabled is true, but web.enabled is not." }}
{{- end }}
{{- $drain := dig "pipeline" "drain" 25 $config | float64 }}
{{- if le (float64 .Values.terminationGracePeriodSeconds) $drain }}
{{- fail (printf "\n\nterminationGracePeriodSeconds is %v and config.pipeline.drain is %v: Kubernetes would kill pods while they finish their work. Make it at least 10 more." .Values.terminationGracePeriodSeconds $drain) }}
{{- end }}
{{- if and $daemons (eq .Values.state.kind "claim") }}
{{- fail "\n\nstate.kind is claim, but the pods of a DaemonSet cannot share one claim: use emptyDir or hostPath." }}
{{- end }}
{{- if and .Values.audit.enabled (eq .Values.state.kind "emptyDir") (include "imgtag.embeddedIndex" .) }}
{{- fail "\n\naudit.enabled is true, but the index is a file in an emptyDir, which the pod of the audit cannot see: use state.kind claim, or config.indexer.meilisearch or elasticsearch." }}
{{- end }}
{{- if and .Values.jobs (eq .Values.state.kind "emptyDir") (include "imgtag.embeddedIndex" .) }}
{{- fail "\n\njobs are given, but the index is a file in an emptyDir, which their pods cannot see: use state.kind claim, or config.indexer.meilisearch or elasticsearch." }}
{{- end }}
{{- if and (eq .Values.state.kind "hostPath") (not .Values.state.hostPath) }}
{{- fail "\n\nstate.kind is hostPath: name the folder on the node in state.hostPath." }}
{{- end }}
{{- if and (not $daemons) (gt (int .Values.replicas) 1) }}
{{- if include "imgtag.embeddedIndex" . }}
{{- fail (printf "\n\nreplicas is %d, but the index is a file ([indexer.sqlite]): each pod would have its own. Use [indexer.meilisearch] or [indexer.elasticsearch], or one replica." (int .Values.replicas)) }}
{{- end }}
{{- if eq .Values.state.kind "claim" }}
{{- fail (printf "\n\nreplicas is %d, but state.kind is claim, and the state belongs to one sidecar. Use emptyDir, or one replica." (int .Values.replicas)) }}
{{- end }}
{{- end }}
{{- if hasKey ($config.source | default dict) "webhook" }}
{{- $pushed := dig "source" "webhook" "listen" "127.0.0.1:9465" $config | toString }}
{{- if or (hasPrefix "127." $pushed) (hasPrefix "localhost:" $pushed) (hasPrefix "[::1]:" $pushed) }}
{{- fail (printf "\n\nconfig.source.webhook.listen is %q, where no store can reach it: use 0.0.0.0:9465 and a token, and add the port to service.extraPorts." $pushed) }}
{{- end }}
{{- if and (not $daemons) (gt (int .Values.replicas) 1) }}
{{- fail (printf "\n\nreplicas is %d, but the store pushes to one sidecar, which keeps the events. Use one replica, or config.source.nats or sqs." (int .Values.replicas)) }}
{{- end }}
{{- if eq .Values.state.kind "emptyDir" }}
{{- fail "\n\nconfig.source.webhook keeps events in the state folder, but state.kind is emptyDir, which is lost with the pod: use claim or hostPath." }}
{{- end }}
{{- end }}
{{- include "imgtag.validate.model" . }}
{{- if .Values.localStore.enabled }}
{{- if not $daemons }}
{{- fail "\n\nlocalStore leads to the store's pod on the same node, but a Deployment may run on a node without one: use kind: DaemonSet, or config.store.s3.endpoint." }}
{{- end }}
{{- if not .Values.localStore.selector }}
{{- fail "\n\nlocalStore.selector is empty: set the labels of the store's pods, see `kubectl get pods --show-labels`." }}
{{- end }}
{{- if dig "store" "s3" "endpoint" "" $config }}
{{- fail "\n\nlocalStore.enabled and config.store.s3.endpoint both set the endpoint: keep one of them." }}
{{- end }}
{{- end }}
{{- $budget := .Values.podDisruptionBudget }}
{{- if $budget.enabled }}
{{- if $daemons }}
{{- fail "\n\npodDisruptionBudget is for a Deployment: draining a node does not evict the pods of a DaemonSet." }}
{{- end }}
{{- if eq (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable) }}
{{- fail "\n\npodDisruptionBudget needs exactly one of minAvailable and maxUnavailable." }}
{{- end }}
{{- end }}
{{- range .Values.prometheusRule.without }}
{{- if not (has . (include "imgtag.alertNames" $ | fromJsonArray)) }}
{{- fail (printf "\n\nprometheusRule.without names %q, but there is no such alert. The alerts are %s." . (include "imgtag.alertNames" $ | fromJsonArray | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}

{{/* YAML reads 2024, 0123 and no as numbers and booleans, which change on their way into the configuration. */}}
{{- define "imgtag.validate.texts" -}}
{{- $texts := list "site.name" "store.s3.endpoint" "store.s3.access_key" "store.s3.region" "source.nats.url" "source.nats.subject" "source.nats.stream" "source.nats.durable" "source.nats.user" "source.sqs.queue" "source.sqs.region" "source.sqs.access_key" "source.webhook.listen" "indexer.meilisearch.url" "indexer.meilisearch.index" "indexer.elasticsearch.url" "indexer.elasticsearch.index" "indexer.elasticsearch.user" "labels.prefix" "classifier.tflite.model" }}
{{- range $path := $texts }}
{{- $here := include "imgtag.given" $ | fromJson }}
{{- range splitList "." $path }}
{{- $here = ternary (get (ternary $here dict (kindIs "map" $here)) .) "" (kindIs "map" $here) }}
{{- end }}
{{- if or (kindIs "float64" $here) (kindIs "bool" $here) }}
{{- fail (printf "\n\nconfig.%s is %v, which YAML reads as a %s: put it in quotes." $path $here (ternary "boolean" "number" (kindIs "bool" $here))) }}
{{- end }}
{{- end }}
{{- range $index, $rule := (include "imgtag.given" $ | fromJson).rules }}
{{- if not (kindIs "string" (get $rule "bucket")) }}
{{- fail (printf "\n\nconfig.rules[%d].bucket is %v, which YAML does not read as a text: put it in quotes." $index (get $rule "bucket")) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Secret settings must not be values: Helm stores values in the release, and they would be in the ConfigMap. */}}
{{- define "imgtag.validate.secrets" -}}
{{- $secrets := list "labels.mark_key" "store.s3.secret_key" "store.s3.session_token" "source.nats.password" "source.nats.token" "source.nats.nkey_seed" "source.nats.creds" "source.sqs.secret_key" "source.sqs.session_token" "source.webhook.token" "source.webhook.hmac_key" "indexer.meilisearch.api_key" "indexer.elasticsearch.api_key" "indexer.elasticsearch.password" "classifier.http.token" "classifier.rekognition.secret_key" "classifier.rekognition.session_token" "web.token" }}
{{- range $secrets }}
{{- $here := include "imgtag.given" $ | fromJson }}
{{- range splitList "." . }}
{{- $here = ternary (get (ternary $here dict (kindIs "map" $here)) .) "" (kindIs "map" $here) }}
{{- end }}
{{- if $here }}
{{- fail (printf "\n\nconfig.%s is a secret, which must not appear in values. Put it into a Secret, name that in `secrets`, and write config.%s_file: KEY." . .) }}
{{- end }}
{{- $variable := printf "IMGTAG_%s" (replace "." "__" . | upper) }}
{{- range $.Values.env }}
{{- if and (eq .name $variable) .value }}
{{- fail (printf "\n\nenv contains the value of %s, which is a secret: use valueFrom.secretKeyRef, or a file through `secrets`." .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "imgtag.validate.model" -}}
{{- $model := .Values.model }}
{{- if eq $model.from "image" }}
{{- if not (and $model.image.repository $model.image.files) }}
{{- fail "\n\nmodel.from is image: set model.image.repository, and the files to copy in model.image.files." }}
{{- end }}
{{- else if eq $model.from "claim" }}
{{- if not (and $model.claim.name $model.claim.path) }}
{{- fail "\n\nmodel.from is claim: set model.claim.name, and the path of the model in it in model.claim.path." }}
{{- end }}
{{- else if eq $model.from "bucket" }}
{{- if not $model.bucket }}
{{- fail "\n\nmodel.from is bucket: set model.bucket, a list of object: BUCKET/KEY, each with a name." }}
{{- end }}
{{- end }}
{{- if and (ne $model.from "bundled") (dig "classifier" "tflite" "model" "" (include "imgtag.given" . | fromJson)) }}
{{- fail (printf "\n\nmodel.from is %s, but config.classifier.tflite.model names another model: keep one of the two." $model.from) }}
{{- end }}
{{- end }}

{{- define "imgtag.alertNames" -}}
{{- $names := list }}
{{- range (.Files.Get "files/alerts.yaml" | fromYaml).groups }}
{{- range .rules }}{{ with .alert }}{{ $names = append $names . }}{{ end }}{{ end }}
{{- end }}
{{- $names | toJson }}
{{- end }}
