// Package files lists folders and reads files for the API, and gives out nothing
// secret.
//
// Three rules stand one behind the other. A path is resolved by openat2(2)
// without following any link, symbolic or magic, so that the text of the path is
// where the file is; folders and names with secrets are refused by that text. A
// file is opened for its data only after it was found to be a regular one, so that no
// device or pipe is ever touched; and one on the state volume is refused by its
// device, however it is reached. What is read is searched for the marks of private
// keys and of kubeconfigs before it is sent, 64 KiB before the offset on.
package files
