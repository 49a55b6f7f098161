// Package source finds the configuration of a node in the places where machines of many kinds are given one. The first place that holds one wins:
//
//	NoCloud     a volume labelled cidata                           internal/machined/nocloud
//	URL         cyvive.config= on the kernel command line          url.go
//	platform    OpenStack's config drive, then the metadata        platform.go, and a file for each
//	            service of AWS, Azure, DigitalOcean, Google
//	            Cloud, Hetzner or OpenStack
//	firmware    an OEM string of SMBIOS, then a file of fw_cfg     smbios.go, fwcfg.go
//
// # The owner
//
// Whoever may configure the node over the API before it has a configuration is named by a key (owner.go): on the image, on the kernel command line, by the
// firmware, or by a document of kind Owner in any of the places above, beside the configuration or in the place of one. Package maintenance says which one
// counts.
//
// # When
//
// The agent looks here as long as nothing is stored on the state volume (package configstore). What is goes before all of them, and what is found here is stored there.
//
// # Order
//
// A place that fails, or cannot be asked yet, holds the places behind it: it must not depend on a metadata service that answers with 503 for a while which
// configuration a node is given, since it keeps that. Only a place that says that it has none lets the next one be looked at. Volumes may
// still be appearing when the search begins, so what is asked over the network is asked settle later; the network comes up meanwhile.
//
// # Who is asked
//
// A metadata service is asked on its own platform and nowhere else. The platform is known from what the firmware says of the machine (DMI, see
// [Facts]), or from cyvive.platform= on the kernel command line, which may also be none. A machine that is on no known platform and has no
// URL sends nothing. A node that has its configuration asks no more.
//
// # Over the network
//
// Without a configuration the node takes its address by DHCP on its first link (config.DefaultNetwork). Until there is an address, and while
// a server does not answer, Find returns [machined.Waiting] with what it waits for, in words that stay the same while the cause does. Servers are
// asked again after a second, then after twice as long each time, up to half a minute, and not before the time that Retry-After names. One request
// takes ten seconds at most and an answer has config.MaxBytes at most. No proxy is used, no redirect is followed, no name is looked up for a
// metadata service, and an answer that does not say how long it is counts as one that was cut off.
//
// Before there is a configuration there is no time to trust, and a public authority says of a server no more than its name. So a
// certificate is never judged by its issuer: a URL names the SHA-256 of the documents (cyvive.config.sha256=), or, with https, that of the
// server's public key (cyvive.config.spki=).
//
// Metadata services answer whoever is on the machine; they and the node's documents are no place for secrets that pods must not have, unless pods
// are kept from 169.254.169.254.
//
// # What is found
//
// All places but NoCloud take the documents as they are, or compressed by gzip, and both also in base64, since some
// platforms keep only text and little of it. What is clearly meant for another program, such as #cloud-config, is an error that says what was found
// where. No error or reason holds what a document says.
package source
