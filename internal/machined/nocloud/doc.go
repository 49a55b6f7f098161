// Package nocloud finds the node's configuration on a NoCloud volume: a block device with a vfat or ISO 9660 file system labelled cidata,
// whose file user-data holds the documents (cloud-init's NoCloud data source uses the same form). meta-data may be there and is not read.
package nocloud
