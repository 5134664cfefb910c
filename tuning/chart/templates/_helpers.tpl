{{/* The chart's name, and the name that all objects begin with. */}}
{{- define "zkfast.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "zkfast.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "zkfast.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "zkfast.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "zkfast.headless" -}}
{{ include "zkfast.fullname" . }}-headless
{{- end }}

{{- define "zkfast.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "zkfast.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "zkfast.selector" -}}
app.kubernetes.io/name: {{ include "zkfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "zkfast.labels" -}}
{{ include "zkfast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* ZOO_SERVERS: a line for each server. Server N is the pod with ordinal N - 1. */}}
{{- define "zkfast.servers" -}}
{{- $lines := list }}
{{- range $ordinal := until (int .Values.replicaCount) }}
{{- $host := printf "%s-%d.%s.%s.svc.%s" (include "zkfast.fullname" $) $ordinal (include "zkfast.headless" $) $.Release.Namespace $.Values.clusterDomain }}
{{- $lines = append $lines (printf "server.%d=%s:%d:%d;%d" (add1 $ordinal) $host (int $.Values.ports.quorum) (int $.Values.ports.election) (int $.Values.ports.client)) }}
{{- end }}
{{- join " " $lines }}
{{- end }}

{{/* ZOO_CFG_EXTRA. A server's own name may have no address yet when it starts, so it listens on all addresses. */}}
{{- define "zkfast.extra" -}}
{{- $lines := list "quorumListenOnAllIPs=true" (printf "admin.serverPort=%d" (int .Values.ports.admin)) }}
{{- if .Values.metrics.enabled }}
{{- $lines = append $lines "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider" }}
{{- $lines = append $lines (printf "metricsProvider.httpPort=%d" (int .Values.ports.metrics)) }}
{{- end }}
{{- range .Values.config.extra }}
{{- if regexMatch "\\s" . }}
{{- fail (printf "config.extra: %q has a blank, and the image's variable is a list of words" .) }}
{{- end }}
{{- $lines = append $lines . }}
{{- end }}
{{- join " " $lines }}
{{- end }}
