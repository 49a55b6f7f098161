package zfs

import (
	"fmt"
	"strings"
)

// Limits of user properties, in bytes: ZAP_MAXNAMELEN and ZAP_MAXVALUELEN of include/sys/fs/zfs.h, each with a final NUL (zfs_check_userprops in
// module/zfs/zfs_ioctl.c).
const (
	MaxUserNameBytes  = 255
	MaxUserValueBytes = 8191
)

// IsUserProperty tells a user property by its name: it has a colon, and no native one has.
func IsUserProperty(name string) bool { return strings.Contains(name, ":") }

// CheckUserName returns an error unless name can be that of a user property (zfs_prop_user in module/zcommon/zfs_prop.c; the '-' is of zfsprops(7)).
func CheckUserName(name string) error {
	const what = "property name"
	switch {
	case len(name) > MaxUserNameBytes:
		return tooLong(what, name, MaxUserNameBytes)
	case !IsUserProperty(name):
		return fmt.Errorf("%s %q %w: expected a colon in the name of a user property, such as com.example:owner", what, name, ErrInvalid)
	case name[0] == '-':
		return invalid(what, name, 0, "no '-' in front")
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("-_.:", c) < 0 {
			return invalid(what, name, i, "small letters, digits and -_.:")
		}
	}
	return nil
}

// CheckUserValue returns an error unless value can be that of a user property. ZFS takes any bytes, but its JSON, which is read back, is cut off at
// one that is no ASCII (nvlist_print_json_string in lib/libnvpair/libnvpair_json.c). So it has to be printable ASCII here. Empty is a value.
func CheckUserValue(name, value string) error {
	what := "value of " + name
	if len(value) > MaxUserValueBytes {
		return tooLong(what, value, MaxUserValueBytes)
	}
	if i := notPrintable(value); i >= 0 {
		return invalid(what, value, i, "printable ASCII")
	}
	return nil
}
