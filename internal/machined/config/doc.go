// Package config turns the configuration documents of a node into one typed, validated [Config].
//
// A configuration is a stream of YAML documents with the apiVersion [APIVersion] and a kind: Machine (required), Network, Cluster and Registries
// (each optional, each at most once), and Pool, Dataset, SnapshotSchedule and ReplicationJob, of which there may be several with different
// names. Decoding is strict and complete: it walks the YAML nodes itself
// instead of letting a library fill structs, so that every mistake is reported with file, line, field and what was expected, and all mistakes are reported together
// ([Errors]). Unknown fields, kinds and duplicate documents are mistakes. Documents of the kinds Owner and
// DiskPassphrase ([Asides]) are taken out of the stream before: they are no part of a configuration. Values of secret fields never appear in an error, a log line or
// a formatted value: they have the type [Secret]. In a document they may be sealed (sealed.go); they are opened in one place, [ParseSealed], and stay sealed in
// the document.
//
// The defaults of all fields are in defaults.go, but that of a choice, which is the first of its values, and no and nothing, which need no default. The table
// of fields ([Documents]) has each as a document would have it, and the tests hold it against what is read.
package config
