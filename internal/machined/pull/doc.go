// Package pull reads a release from where it is kept: a web server or a registry of OCI artifacts.
//
//	https://host/path, http://host/path            the file as it is
//	oci://host/repo:tag, oci+http://host/repo:tag   the one layer of an artifact; :tag may be @sha256:…, or both
//
// A [Reader] is the stream that a push would be, so a release from elsewhere goes through the same checks in the same order, and is refused before the rest
// of it is fetched.
//
// # Trust
//
// A release is known by its signature, and by nothing else. So the certificate of a server that the configuration does not name is not judged, and plain HTTP
// will do: who is on the way can keep a release from the node or hold it back, but make none. Who may not choose between signed releases either
// is kept from it by the SHA-256 of the file, or of the artifact (@sha256:…), that the caller gives. What somebody on the way could do harm with is a
// password. So it goes only to servers of upgrade.sources in the node's configuration, over TLS, once they have shown a certificate of the authority that is
// named there; the service that gives out a registry's tokens has to be among them too.
//
// # Bounds
//
// How much is read is for the reader's user to say, who knows from the signed manifest how much belongs to a release; manifests and tokens of a registry
// are bounded here. At most five redirects are followed, none from https to http. No address of the link (169.254.0.0/16, fe80::/10) is asked, since
// metadata services have such, and none of the node itself unless the source names it. A server that brings less than 64 KiB in a minute is cut off.
// What was cut is gone on with by a range (RFC 9110 section 14), under If-Range; a file that has changed meanwhile is an error. After five failures
// without a further mebibyte the reader gives up. What it waits for between them is told as [Progress].
package pull
