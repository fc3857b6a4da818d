{{- define "deeplab.selector" -}}
app.kubernetes.io/name: deeplab-serve
{{- end }}
{{- define "deeplab.labels" -}}
{{ include "deeplab.selector" . }}
app.kubernetes.io/part-of: deeplab-serve
{{- end }}
{{- define "deeplab.metricsPort" -}}
{{ if eq .Values.server "torchserve" }}metrics{{ else }}http{{ end }}
{{- end }}
{{- define "deeplab.workersReady" -}}
exec:
  command: [/opt/deeplab/bin/python, /opt/deeplab-serve/healthcheck.py, "http://127.0.0.1:8081/models/deeplabv3", workers]
{{- end }}
{{- define "deeplab.ready" -}}
{{ if eq .Values.server "torchserve" }}{{ include "deeplab.workersReady" . }}{{ else }}httpGet: {path: /v2/health/ready, port: http}{{ end }}
{{- end }}
