// Package nocloud finds the node's configuration on volumes: block devices with a vfat or ISO 9660 file system, known by its label.
//
// A NoCloud volume is labelled cidata, and its file user-data holds the documents (cloud-init's NoCloud data source uses the same form). meta-data may
// be there and is not read. OpenStack's config drive is labelled config-2 and has the user data in openstack/latest/user_data.
package nocloud
