//go:build tools

// Package exporter is no program of its own: it holds prometheus/memcached_exporter to one version.
package exporter

import _ "github.com/prometheus/memcached_exporter/cmd/memcached_exporter"
