{{/* The image: by digest where there is one. */}}
{{- define "spo.image" -}}
{{- $image := .Values.spoImage -}}
{{- $name := printf "%s/%s" $image.registry $image.repository | trimPrefix "/" -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default (printf "v%s" .Chart.AppVersion)) -}}
{{- end -}}
{{- end -}}

{{/* The namespaces that the operator is restricted to, its own among them; an empty list for all. */}}
{{- define "spo.namespaces" -}}
{{- if .Values.restrictToNamespaces -}}
{{- append .Values.restrictToNamespaces .Release.Namespace | uniq | sortAlpha | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Replicas on different nodes, unless the values say otherwise. */}}
{{- define "spo.affinity" -}}
{{- if .Values.affinity -}}
{{- .Values.affinity | toJson -}}
{{- else -}}
{{- $labels := dict "app" "security-profiles-operator" "name" "security-profiles-operator" -}}
{{- $term := dict "labelSelector" (dict "matchLabels" $labels) "topologyKey" "kubernetes.io/hostname" -}}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) -}}
{{- dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred) | toJson -}}
{{- end -}}
{{- end -}}

{{/* Those of the values, and the taint of nodes whose agent is not ready: whoever takes it off cannot wait for that. */}}
{{- define "spo.tolerations" -}}
{{- $startup := dict "key" "security-profiles-operator.x-k8s.io/agent-not-ready" "operator" "Exists" -}}
{{- append (.Values.tolerations | default list) $startup | toJson -}}
{{- end -}}

{{/*
The spec of the SecurityProfilesOperatorDaemon. Only what differs from the defaults is in it, in the flat places, so
that a later `kubectl patch` of either place of another switch does not contradict it.
*/}}
{{- define "spo.spod" -}}
{{- $spec := dict -}}
{{- range $switch := list "enableLogEnricher" "enableJsonEnricher" "enableBpfRecorder" "enableAppArmor" "enableProfiling" "enableMemoryOptimization" "enableInsecureMetricsAccess" -}}
{{- if index $.Values $switch -}}
{{- $_ := set $spec $switch true -}}
{{- end -}}
{{- end -}}
{{- if .Values.verbosity -}}
{{- $_ := set $spec "verbosity" (int .Values.verbosity) -}}
{{- end -}}
{{- if .Values.imagePullSecrets -}}
{{- $_ := set $spec "imagePullSecrets" .Values.imagePullSecrets -}}
{{- end -}}
{{- with .Values.selinux -}}
{{- if .enable -}}
{{- $_ := set $spec "enableSelinux" true -}}
{{- end -}}
{{- $selinux := dict -}}
{{- if not .enableRawSelinuxProfiles -}}
{{- $_ := set $selinux "enableRawSelinuxProfiles" false -}}
{{- end -}}
{{- if ne .typeTag "spc_t" -}}
{{- $_ := set $selinux "typeTag" .typeTag -}}
{{- end -}}
{{- if .customTemplatesConfigMap -}}
{{- $_ := set $selinux "customTemplatesConfigMap" .customTemplatesConfigMap -}}
{{- end -}}
{{- if .options -}}
{{- $_ := set $selinux "options" .options -}}
{{- end -}}
{{- if $selinux -}}
{{- $_ := set $spec "selinux" $selinux -}}
{{- end -}}
{{- end -}}
{{- with .Values.daemon -}}
{{- if .tolerations -}}
{{- $_ := set $spec "tolerations" .tolerations -}}
{{- end -}}
{{- if .affinity -}}
{{- $_ := set $spec "affinity" .affinity -}}
{{- end -}}
{{- if .priorityClassName -}}
{{- $_ := set $spec "priorityClassName" .priorityClassName -}}
{{- end -}}
{{- if .resources -}}
{{- $_ := set $spec "daemonResourceRequirements" .resources -}}
{{- end -}}
{{- if .startupTaint -}}
{{- $_ := set $spec "scheduling" (dict "startupTaint" true) -}}
{{- end -}}
{{- if .hostProc -}}
{{- $_ := set $spec "hostProcVolumePath" .hostProc -}}
{{- end -}}
{{- end -}}
{{- if .Values.webhook.options -}}
{{- $_ := set $spec "webhookOptions" .Values.webhook.options -}}
{{- end -}}
{{- $place := dict -}}
{{- range $field := list "tolerations" "affinity" "nodeSelector" "priorityClassName" -}}
{{- with index $.Values.webhook $field -}}
{{- $_ := set $place $field . -}}
{{- end -}}
{{- end -}}
{{- if $place -}}
{{- $_ := set $spec "webhook" (dict "scheduling" $place) -}}
{{- end -}}
{{- mergeOverwrite $spec (deepCopy .Values.spod) | toJson -}}
{{- end -}}
