// Package kubeconfig takes a cluster's access into the user's kubeconfig and
// out of it again. It edits the text's tree, so that everything else in the
// file, fields it does not know and comments included, stays as it is.
package kubeconfig
