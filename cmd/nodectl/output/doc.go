// Package output writes what nodes answered: as tables for people, as the
// API's own protojson, or as the same in YAML.
//
// For one node JSON is the response itself. For several it is a list of
// objects with the fields node and response; a stream is one such object a
// line.
package output
