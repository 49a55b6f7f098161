// Package endpoint is either side of a replication on the machine that it runs on.
//
// Requests name snapshots by their GUIDs, and the endpoint looks their names up: what was renamed since the plan was made is found, and what took its
// name is not. By which name one was found last is remembered ([Memory]), and is read again before it is used, by the same program as the generation.
// Each request is checked against the generation of the tree before it has an effect. A method that was cut anywhere may be called
// again.
package endpoint
