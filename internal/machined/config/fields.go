package config

import "strconv"

// Field describes one field of a document: the schema is made of it.
type Field struct {
	Name string
	// Doc says what the field is for, in a sentence or two.
	Doc string
	// Type is the form of the value.
	Type Type
	// List says that it is a list of such values.
	List bool
	// Required fields have no default.
	Required bool
	// Default is the value of a field that is left out, as a document would have it; empty is none.
	Default string
	// Values are all that is allowed, where that is a choice; Pattern is a regular expression for the form, where there is one.
	Values  []string
	Pattern string
	// Secret fields are never shown.
	Secret bool
	// Fields are those of an object.
	Fields []Field
}

// Type is the form of a value.
type Type string

// The forms. Texts are checked further than their form by Parse.
const (
	TypeText     Type = "text"
	TypeBool     Type = "true or false"
	TypeDuration Type = "duration"
	TypeObject   Type = "object"
	// TypeCount is a whole number, and TypeSize one of bytes.
	TypeCount Type = "count"
	TypeSize  Type = "size"
	// TypeMap is a mapping of texts under names that are free but for the field's Pattern.
	TypeMap Type = "map"
)

// fallback is the default in the form of the field; nil is none.
func (f Field) fallback() any {
	switch n, err := strconv.Atoi(f.Default); {
	case f.Default == "":
		return nil
	case f.Type == TypeBool:
		return f.Default == "true"
	case f.Type == TypeCount && err == nil:
		return n
	}
	return f.Default
}

// Document is one kind of document.
type Document struct {
	Kind string
	// Doc says what the document is about.
	Doc    string
	Fields []Field
}

// authorityField is the fields of a key pair.
func authorityField(name, doc string) Field {
	return Field{Name: name, Doc: doc, Type: TypeObject, Required: true, Fields: []Field{
		{Name: "certificate", Doc: "The authority's certificate, PEM.", Type: TypeText, Required: true},
		{Name: "key", Doc: "Its private key, PEM.", Type: TypeText, Required: true, Secret: true},
	}}
}

func gateFields() []Field {
	return []Field{
		{Name: "name", Doc: "What the gate is called.", Type: TypeText, Required: true},
		{Name: "kind", Doc: "How it is looked at.", Type: TypeText, Required: true, Values: gateKindNames()},
		{
			Name: "target", Type: TypeText, Required: true,
			Doc: "What is looked at: a URL with http, host:port, namespace/name:port/path of a Service, namespace/name of a Deployment, or a condition of the node.",
		},
	}
}

func sourceFields() []Field {
	return []Field{
		{Name: "host", Doc: "The server's name or address, with a port unless that is 443.", Type: TypeText, Required: true},
		{Name: "ca", Doc: "The authority of its certificate, PEM.", Type: TypeText, Required: true},
		{Name: "credentials", Doc: "What the node shows it, if it asks for that.", Type: TypeObject, Fields: []Field{
			{Name: "username", Doc: "The name of an account.", Type: TypeText, Required: true},
			{Name: "password", Doc: "Its password or token.", Type: TypeText, Required: true, Secret: true},
		}},
	}
}

func keyServerFields() []Field {
	return []Field{
		{Name: "endpoint", Doc: "The server's URL, with scheme https, and a port unless that is 443.", Type: TypeText, Required: true},
		{Name: "ca", Doc: "The authority of its certificate, PEM; both, one behind the other, while one takes the place of another.", Type: TypeText, Required: true},
		{Name: "client", Doc: "What the node shows it, if it asks for that. It lies on the disk in the clear.", Type: TypeObject, Fields: []Field{
			{Name: "certificate", Doc: "A certificate, PEM.", Type: TypeText, Required: true},
			{Name: "key", Doc: "Its private key, PEM.", Type: TypeText, Required: true, Secret: true},
		}},
	}
}

func registryFields() []Field {
	return []Field{
		{Name: "name", Doc: "The registry as images name it, with its port: docker.io for images that name none, * for any that is not in the list.", Type: TypeText, Required: true},
		{Name: "mirrors", Doc: "URLs, with scheme https, of servers that are asked before the registry, in this order.", Type: TypeText, List: true},
		{Name: "ca", Doc: "Authorities by which this server is known besides, PEM, one behind the other.", Type: TypeText},
		{Name: "credentials", Doc: "What this server is shown, as a registry and as a mirror.", Type: TypeObject, Fields: []Field{
			{Name: "username", Doc: "The name of an account.", Type: TypeText, Required: true},
			{Name: "password", Doc: "Its password or token.", Type: TypeText, Required: true, Secret: true},
		}},
	}
}

// Documents returns every kind of document of a configuration with all of its fields; [Asides] are those that are none. The header (apiVersion and kind) is common to all.
func Documents() []Document { return append(nodeDocuments(), storageDocuments()...) }

func nodeDocuments() []Document {
	return []Document{
		{
			Kind: "Machine", Doc: "What the node is called, and who may use its API.",
			Fields: []Field{
				{Name: "hostname", Doc: "The node's name, by RFC 1123, in lower case.", Type: TypeText, Required: true},
				authorityField("ca", "The authority that signs the API's certificate and those of its clients."),
				{Name: "certSANs", Doc: "Further names and addresses under which clients reach the API.", Type: TypeText, List: true},
				{
					Name: "profile", Doc: "How much of the kernel pods can reach: strict takes user namespaces and eBPF from them.", Type: TypeText,
					Default: string(defaultProfile), Values: []string{string(ProfileStandard), string(ProfileStrict)},
				},
				{Name: "disk", Doc: "How the node's own volumes are made.", Type: TypeObject, Fields: []Field{
					{Name: "encryption", Doc: "How what the node writes is encrypted.", Type: TypeObject, Fields: []Field{
						{
							Name: "mode", Type: TypeText, Default: string(defaultEncryption), Values: encryptionModes(),
							Doc: "What opens the volumes: nothing, the machine's TPM 2.0, a key server, or a passphrase that it is given at each boot. It holds for the life of the volumes.",
						},
						{Name: "kms", Doc: "The key server, which the mode kms needs.", Type: TypeObject, Fields: keyServerFields()},
					}},
				}},
				{Name: "upgrade", Doc: "How a new release is tried.", Type: TypeObject, Fields: []Field{
					{
						Name: "deadline", Type: TypeDuration, Default: durationText(DefaultUpgradeDeadline),
						Doc: "How long after the kernel's start a release has to be well before the node goes back to the one before: 1m to 1h.",
					},
					{Name: "gates", Doc: "What a release has to fulfil besides being well, if it was fulfilled before the upgrade.", Type: TypeObject, List: true, Fields: gateFields()},
					{Name: "sources", Doc: "Servers of releases whose certificate is judged. Releases may come from others too.", Type: TypeObject, List: true, Fields: sourceFields()},
				}},
				{Name: "time", Doc: "How the node keeps its clock.", Type: TypeObject, Fields: []Field{
					{Name: "servers", Doc: "Names or addresses of NTP servers, instead of those that DHCP names.", Type: TypeText, List: true},
				}},
				{Name: "extensions", Doc: "The extensions that the node uses, in this order. They have been pushed to it.", Type: TypeObject, List: true, Fields: []Field{
					{Name: "name", Doc: "The extension's name.", Type: TypeText, Required: true},
					{Name: "version", Doc: "Its version, without a leading v.", Type: TypeText, Required: true},
				}},
			},
		},
		{
			Kind: "Network", Doc: "The node's own links. Without it, the first physical link gets its address by DHCP.",
			Fields: []Field{
				{Name: "links", Doc: "The links that the node brings up.", Type: TypeObject, List: true, Fields: []Field{
					{Name: "name", Doc: "The link's name, its MAC address, or first for the first physical one.", Type: TypeText, Required: true},
					{Name: "dhcp", Doc: "Whether DHCP gives it an address. It does when neither dhcp nor addresses are given.", Type: TypeBool},
					{Name: "addresses", Doc: "Addresses with the length of their prefix, such as 10.5.0.2/24, outside of the cluster's podCIDR and serviceCIDR.", Type: TypeText, List: true},
					{Name: "gateway", Doc: "The next hop of a default route. Of several, that of the first link in the list is used.", Type: TypeText},
				}},
				{Name: "nameservers", Doc: "Addresses of name servers, instead of those that DHCP names.", Type: TypeText, List: true},
			},
		},
		{
			Kind: "Cluster", Doc: "The Kubernetes cluster that the node belongs to. Without it, the node runs no Kubernetes.",
			Fields: []Field{
				{Name: "name", Doc: "The cluster's name.", Type: TypeText, Required: true},
				{Name: "endpoint", Doc: "The URL under which clients reach the Kubernetes API, with scheme https and a port.", Type: TypeText, Required: true},
				{Name: "role", Doc: "What the node does in the cluster.", Type: TypeText, Required: true, Values: []string{string(RoleControlPlane)}},
				{Name: "podCIDR", Doc: "The network of the node's pods, IPv4, from /8 to /24.", Type: TypeText, Default: defaultPodCIDR.String()},
				{Name: "serviceCIDR", Doc: "The network of service addresses, IPv4, from /8 to /28, apart from podCIDR.", Type: TypeText, Default: defaultServiceCIDR.String()},
				{Name: "dnsDomain", Doc: "The domain of the cluster's DNS.", Type: TypeText, Default: defaultDNSDomain},
				{Name: "certSANs", Doc: "Further names and addresses in kube-apiserver's certificate.", Type: TypeText, List: true},
				{
					Name: "volumes", Doc: "Who makes persistent volumes: the node's CSI driver, on its ZFS pools, or nobody of the node's.", Type: TypeText,
					Default: string(defaultVolumes), Values: []string{string(VolumesNone), string(VolumesZFS)},
				},
				authorityField("ca", "The authority of Kubernetes, from which that of kubelets' own servers is derived."),
				authorityField("frontProxyCA", "The authority of Kubernetes' front proxy."),
				authorityField("etcdCA", "The authority of etcd."),
				{Name: "serviceAccountKey", Doc: "The private key that signs tokens of service accounts, PEM.", Type: TypeText, Required: true, Secret: true},
				{Name: "encryptionKey", Doc: "The key that encrypts secrets in etcd: 32 bytes in base64.", Type: TypeText, Required: true, Secret: true},
			},
		},
		{
			Kind: "Registries", Doc: "Where the images of pods come from. Without it, from the registries that they name, which show certificates of public authorities.",
			Fields: []Field{
				{Name: "ca", Doc: "Authorities by which all registries and mirrors are known besides the public ones, PEM, one behind the other.", Type: TypeText},
				{Name: "registries", Doc: "Registries of which there is more to say than their name.", Type: TypeObject, List: true, Fields: registryFields()},
			},
		},
	}
}
