package replication

import "strings"

// Encryption is what the replica has to be. It is checked before anything is received.
type Encryption string

// The rules. The empty one is EncryptionOff.
const (
	// EncryptionOff is for pools on encrypted disks.
	EncryptionOff Encryption = "off"
	// EncryptionParent wants the encryption of the dataset above.
	EncryptionParent Encryption = "parent"
	// EncryptionRaw is for raw streams: the replica has the sender's key, and the receiver does not.
	EncryptionRaw Encryption = "raw"
	// EncryptionAny takes what comes.
	EncryptionAny Encryption = "any"
)

// included says whether the filter lets a dataset through.
func (j Job) included(source string) bool {
	longest, include := -1, true
	for _, rule := range j.Filter {
		if within(source, rule.Path) && len(rule.Path) > longest {
			longest, include = len(rule.Path), rule.Include
		}
	}
	return include
}

// Includes says whether a dataset on the sending side is one that is sent.
func (j Job) Includes(source string) bool { return j.Target(source) != "" && j.included(source) }

// wants says whether a snapshot is one that is sent.
func (j Job) wants(v Version) bool {
	if v.Bookmark {
		return false
	}
	for _, prefix := range j.Snapshots {
		if strings.HasPrefix(v.Name, prefix) {
			return true
		}
	}
	return len(j.Snapshots) == 0
}

// guarantee is the level of a step.
func (j Job) guarantee(k StepKind) Guarantee {
	if k == StepInitial {
		return j.InitialGuarantee
	}
	return j.Guarantee
}

// Fault says what is wrong with what a dataset is encrypted with, of which its encryption root has the key; empty if nothing is.
func (e Encryption) Fault(name, cipher, root string) string {
	encrypted := cipher != "off" && cipher != ""
	switch {
	case e == EncryptionParent && (!encrypted || root == name):
		return "it should have the encryption of the dataset above, and has " + cipher
	case e == EncryptionRaw && !encrypted:
		return "it should be encrypted with the sender's key, and is not"
	case (e == EncryptionOff || e == "") && encrypted:
		return "it should not be encrypted, and has " + cipher
	}
	return ""
}
