// Package redact takes secrets out of text that is handed to others. It knows the
// forms in which secrets are met in logs and command lines: private keys, tokens that
// are told by their form, credentials in addresses, and values behind a name that says
// so. It takes out rather too much than too little.
//
// It is the second wall: the node's API gives out no environments, no secrets of the
// configuration and no file that holds a secret. What a program writes into its log by a name that
// tells nothing is found by neither.
package redact
