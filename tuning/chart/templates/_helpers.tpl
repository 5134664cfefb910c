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

{{/* The ports that are there, as JSON: without `client` where clients have TLS alone. */}}
{{- define "zkfast.ports" -}}
{{- $ports := dict }}
{{- range $name, $port := .Values.ports }}
{{- $isThere := true }}
{{- if eq $name "metrics" }}{{ $isThere = $.Values.metrics.enabled }}{{ end }}
{{- if eq $name "secureClient" }}{{ $isThere = $.Values.tls.client.enabled }}{{ end }}
{{- if eq $name "client" }}{{ $isThere = or (not $.Values.tls.client.enabled) $.Values.tls.client.plain }}{{ end }}
{{- if $isThere }}{{ $_ := set $ports (ternary "secure-client" $name (eq $name "secureClient")) (int $port) }}{{ end }}
{{- end }}
{{- toJson $ports }}
{{- end }}

{{/* True if something takes the stores of tls.quorum. */}}
{{- define "zkfast.quorumStores" -}}
{{- if or .Values.tls.quorum.enabled .Values.tls.quorum.portUnification .Values.tls.admin.enabled }}true{{ end }}
{{- end }}

{{/* Secrets to mount, as JSON: names of volumes, secrets, and where they are mounted. */}}
{{- define "zkfast.secrets" -}}
{{- $mounts := list }}
{{- if .Values.tls.client.enabled }}
{{- $secret := required "tls.client.enabled: tls.client.secret names no Secret" .Values.tls.client.secret }}
{{- $mounts = append $mounts (dict "name" "tls-client" "secret" $secret "path" "/etc/zkfast/tls-client") }}
{{- end }}
{{- if include "zkfast.quorumStores" . }}
{{- $secret := required "tls.quorum or tls.admin is enabled: tls.quorum.secret names no Secret" .Values.tls.quorum.secret }}
{{- $mounts = append $mounts (dict "name" "tls-quorum" "secret" $secret "path" "/etc/zkfast/tls-quorum") }}
{{- end }}
{{- with .Values.sasl.secret }}
{{- $mounts = append $mounts (dict "name" "jaas" "secret" . "path" "/etc/zkfast/jaas") }}
{{- end }}
{{- with .Values.kerberos.keytabSecret }}
{{- $mounts = append $mounts (dict "name" "keytab" "secret" . "path" "/etc/zkfast/keytab") }}
{{- end }}
{{- range $index, $one := .Values.extraSecrets }}
{{- $mounts = append $mounts (dict "name" (printf "extra-secret-%d" $index) "secret" $one.secret "path" $one.mountPath) }}
{{- end }}
{{- toJson $mounts }}
{{- end }}

{{/* Lines of zoo.cfg for the stores of a secret: a list of prefix, values and folder. */}}
{{- define "zkfast.stores" -}}
{{- $prefix := index . 0 }}
{{- $values := index . 1 }}
{{- $folder := index . 2 }}
{{- $pem := eq $values.type "PEM" }}
{{- $lines := list (printf "%skeyStore.type=%s" $prefix $values.type) (printf "%strustStore.type=%s" $prefix $values.type) }}
{{- $lines = append $lines (printf "%skeyStore.location=%s/%s" $prefix $folder (ternary $values.certificate $values.keyStore $pem)) }}
{{- $lines = append $lines (printf "%strustStore.location=%s/%s" $prefix $folder (ternary $values.authority $values.trustStore $pem)) }}
{{- if $pem }}
{{- $lines = append $lines (printf "zkfast.%skeyStore.keyLocation=%s/%s" $prefix $folder $values.privateKey) }}
{{- end }}
{{- with $values.passwordFile }}
{{- $lines = append $lines (printf "%skeyStore.passwordPath=%s/%s" $prefix $folder .) }}
{{- if not $pem }}
{{- $lines = append $lines (printf "%strustStore.passwordPath=%s/%s" $prefix $folder .) }}
{{- end }}
{{- end }}
{{- join " " $lines }}
{{- end }}

{{/* ZOO_SERVERS: a line for each server. Server N is the pod with ordinal N - 1. */}}
{{- define "zkfast.servers" -}}
{{- $lines := list }}
{{- range $ordinal := until (int .Values.replicaCount) }}
{{- $host := printf "%s-%d.%s.%s.svc.%s" (include "zkfast.fullname" $) $ordinal (include "zkfast.headless" $) $.Release.Namespace $.Values.clusterDomain }}
{{- $line := printf "server.%d=%s:%d:%d" (add1 $ordinal) $host (int $.Values.ports.quorum) (int $.Values.ports.election) }}
{{- if hasKey (include "zkfast.ports" $ | fromJson) "client" }}{{ $line = printf "%s;%d" $line (int $.Values.ports.client) }}{{ end }}
{{- $lines = append $lines $line }}
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
{{- if .Values.tls.client.enabled }}
{{- $lines = append $lines (printf "secureClientPort=%d" (int .Values.ports.secureClient)) }}
{{- $lines = append $lines (printf "ssl.clientAuth=%s" .Values.tls.client.clientAuth) }}
{{- $lines = append $lines (include "zkfast.stores" (list "ssl." .Values.tls.client "/etc/zkfast/tls-client")) }}
{{- end }}
{{- if include "zkfast.quorumStores" . }}
{{- $lines = append $lines (include "zkfast.stores" (list "ssl.quorum." .Values.tls.quorum "/etc/zkfast/tls-quorum")) }}
{{- end }}
{{- if .Values.tls.quorum.enabled }}{{ $lines = append $lines "sslQuorum=true" }}{{ end }}
{{- if .Values.tls.quorum.portUnification }}{{ $lines = append $lines "portUnification=true" }}{{ end }}
{{- if .Values.tls.admin.enabled }}{{ $lines = append $lines "admin.forceHttps=true" }}{{ end }}
{{- range .Values.config.extra }}
{{- if regexMatch "\\s" . }}
{{- fail (printf "config.extra: %q has a blank, and the image's variable is a list of words" .) }}
{{- end }}
{{- $lines = append $lines . }}
{{- end }}
{{- join " " $lines }}
{{- end }}

{{/* JVMFLAGS. */}}
{{- define "zkfast.jvmFlags" -}}
{{- $flags := list }}
{{- with .Values.config.jvmFlags }}{{ $flags = append $flags . }}{{ end }}
{{- if .Values.sasl.secret }}
{{- $flags = append $flags (printf "-Djava.security.auth.login.config=/etc/zkfast/jaas/%s" .Values.sasl.jaas) }}
{{- end }}
{{- join " " $flags }}
{{- end }}
