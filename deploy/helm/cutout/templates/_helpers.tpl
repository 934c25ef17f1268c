{{- define "cutout.name" -}}
{{- if contains "cutout" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-cutout" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "cutout.selector" -}}
app.kubernetes.io/name: cutout
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cutout.labels" -}}
{{ include "cutout.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cutout.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "cutout.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{- define "cutout.scheme" -}}
{{- if .Values.tls.secret }}https{{ else }}http{{ end -}}
{{- end }}

{{- define "cutout.natsURL" -}}
{{- tpl .Values.nats.url . -}}
{{- end }}

{{- define "cutout.scales" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled (gt (int .Values.replicaCount) 1) }}yes{{ end -}}
{{- end }}

{{- define "cutout.publicURL" -}}
{{- if .Values.publicURL }}{{ .Values.publicURL }}{{ else if .Values.ingress.enabled }}{{ ternary "https" "http" (ne .Values.ingress.tlsSecret "") }}://{{ .Values.ingress.host }}{{ end -}}
{{- end }}

{{- define "cutout.check" -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}{{ fail "autoscaling.enabled and keda.enabled: only one may scale the pods" }}{{ end }}
{{- if and (include "cutout.scales" .) (not (include "cutout.natsURL" .)) (not .Values.jobs.perPod) }}{{ fail "several pods know nothing of each other's jobs and hosted results: set nats.url, or jobs.perPod=true where nobody uses those" }}{{ end }}
{{- if and (include "cutout.scales" .) .Values.persistence.enabled }}{{ fail "persistence.enabled: several pods cannot share one volume; keep jobs in NATS" }}{{ end }}
{{- if and .Values.apiKeys.lines .Values.apiKeys.existingSecret }}{{ fail "apiKeys.lines and apiKeys.existingSecret: only one can hold the keys" }}{{ end }}
{{- end }}
