{{/* The labels that select the pods of a worker. */}}
{{- define "moorage.labels" -}}
app.kubernetes.io/name: moorage
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* The image of every container. */}}
{{- define "moorage.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/*
The workers that run, each with its own values over the defaults and with what it is: whether it talks to the hub, and what
it consumes (files/workers.yaml, made of the workers' declarations).
*/}}
{{- define "moorage.workers" -}}
{{- $found := dict }}
{{- range $name, $facts := .Files.Get "files/workers.yaml" | fromYaml }}
{{- $own := index $.Values.workers $name | default dict }}
{{- if ne (toString $own.enabled) "false" }}
{{- $_ := set $found $name (mergeOverwrite (deepCopy $.Values.defaults) $own $facts) }}
{{- end }}
{{- end }}
{{- $found | toYaml }}
{{- end }}

{{/* Of a container in a namespace that enforces the restricted level of Pod Security. */}}
{{- define "moorage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "moorage.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532 # may read keys, which nobody else may
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where a container's settings come from: a dict with `root`. */}}
{{- define "moorage.envFrom" -}}
- configMapRef: {name: moorage}
{{- if not .root.Values.nats.keyPerWorker }}
- secretRef: {name: {{ .root.Values.nats.secret }}, optional: true}
{{- end }}
{{- end }}

{{/* What a container mounts: a dict with `root`, `as` and `hub`, whether it talks to the hub. */}}
{{- define "moorage.mounts" -}}
{{- if .root.Values.nats.caSecret }}
- {name: nats-ca, mountPath: /etc/nats/ca, readOnly: true}
{{- end }}
{{- if .root.Values.nats.keyPerWorker }}
- {name: nats-key, mountPath: /etc/nats/key, readOnly: true}
{{- end }}
{{- if .hub }}
- {name: hub, mountPath: /etc/moorage/hub, readOnly: true}
{{- end }}
{{- if eq .as "intake" }}
- {name: users, mountPath: /users, readOnly: true}
{{- end }}
{{- with .volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The same as volumes; `hub` is the name of the Secret. */}}
{{- define "moorage.volumes" -}}
{{- if .root.Values.nats.caSecret }}
- name: nats-ca
  secret: {secretName: {{ .root.Values.nats.caSecret }}}
{{- end }}
{{- if .root.Values.nats.keyPerWorker }}
- name: nats-key
  secret: {secretName: moorage-nats-{{ .as }}, defaultMode: 0440}
{{- end }}
{{- if .hub }}
- name: hub
  secret: {secretName: {{ .hub }}}
{{- end }}
{{- if eq .as "intake" }}
- name: users # who may be spoken for by whom: docs/requests.md
  configMap: {name: moorage-users}
{{- end }}
{{- with .volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
