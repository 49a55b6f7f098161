package kube

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cluster is objects as an API server names them, and the table that they make on node1.
var cluster = []struct {
	name             string
	services, slices []string
	want             string
}{
	{"nothing", nil, nil, ""},
	{
		"ports by name, ready endpoints",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9"],"ports":[
			{"name":"http","protocol":"TCP","port":80,"targetPort":8080},{"name":"dns","protocol":"UDP","port":53}]}}`},
		[]string{
			`{"metadata":{"namespace":"a","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
				"ports":[{"name":"dns","protocol":"UDP","port":1053},{"name":"http","port":8080}],
				"endpoints":[{"addresses":["10.244.0.5"]},{"addresses":["10.244.0.6"],"conditions":{"ready":false}}]}`,
			`{"metadata":{"namespace":"a","name":"web-2","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
				"ports":[{"name":"http","port":9090}],"endpoints":[{"addresses":["10.244.0.7"],"conditions":{"ready":true,"serving":true}}]}`,
			`{"metadata":{"namespace":"b","name":"other","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
				"ports":[{"name":"http","port":1}],"endpoints":[{"addresses":["10.244.0.8"]}]}`,
			`{"metadata":{"namespace":"a","name":"of-none"},"addressType":"IPv4","ports":[{"name":"http","port":1}],"endpoints":[{"addresses":["10.244.0.9"]}]}`,
		},
		"any 10.96.0.9:0 ->\nudp 10.96.0.9:53 -> 10.244.0.5:1053\ntcp 10.96.0.9:80 -> 10.244.0.5:8080 10.244.0.7:9090\n",
	},
	{
		"endpoints that end serve when no other does",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}}`},
		[]string{`{"metadata":{"namespace":"a","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":80}],
			"endpoints":[{"addresses":["10.244.0.5"],"conditions":{"ready":false,"serving":true,"terminating":true}},
				{"addresses":["10.244.0.6"],"conditions":{"ready":false,"serving":false,"terminating":true}},
				{"addresses":["10.244.0.7"],"conditions":{"ready":false,"serving":true,"terminating":false}}]}`},
		"any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 -> 10.244.0.5:80\n",
	},
	{
		"endpoints that end get nothing while another is ready",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}}`},
		[]string{`{"metadata":{"namespace":"a","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":80}],
			"endpoints":[{"addresses":["10.244.0.5"],"conditions":{"ready":false,"serving":true,"terminating":true}},{"addresses":["10.244.0.6"]}]}`},
		"any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 -> 10.244.0.6:80\n",
	},
	{
		"no backend",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}}`},
		nil,
		"any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 ->\n",
	},
	{
		"both families",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"],"ports":[{"port":80}]}}`},
		[]string{
			`{"metadata":{"namespace":"a","name":"web-4","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":8}],
				"endpoints":[{"addresses":["10.244.0.5"]}]}`,
			`{"metadata":{"namespace":"a","name":"web-6","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv6","ports":[{"port":8}],
				"endpoints":[{"addresses":["fd00:1::5"]}]}`,
			`{"metadata":{"namespace":"a","name":"web-n","labels":{"kubernetes.io/service-name":"web"}},"addressType":"FQDN","ports":[{"port":8}],
				"endpoints":[{"addresses":["example.org"]}]}`,
		},
		"any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 -> 10.244.0.5:8\nany [fd00::9]:0 ->\ntcp [fd00::9]:80 -> [fd00:1::5]:8\n",
	},
	{
		"own node only",
		[]string{`{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.9","internalTrafficPolicy":"Local","ports":[{"port":80}]}}`},
		[]string{`{"metadata":{"namespace":"a","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"port":80}],
			"endpoints":[{"addresses":["10.244.0.5"],"nodeName":"node1"},{"addresses":["10.244.1.5"],"nodeName":"node2"},{"addresses":["192.0.2.1"]}]}`},
		"any 10.96.0.9:0 ->\ntcp 10.96.0.9:80 -> 10.244.0.5:80\n",
	},
	{
		"headless, a name only, and a protocol that is not translated",
		[]string{
			`{"metadata":{"namespace":"a","name":"headless"},"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"port":80}]}}`,
			`{"metadata":{"namespace":"a","name":"name"},"spec":{"type":"ExternalName","externalName":"example.org"}}`,
			`{"metadata":{"namespace":"a","name":"sctp"},"spec":{"clusterIP":"10.96.0.9","ports":[{"protocol":"SCTP","port":80}]}}`,
		},
		[]string{`{"metadata":{"namespace":"a","name":"sctp-1","labels":{"kubernetes.io/service-name":"sctp"}},"addressType":"IPv4",
			"ports":[{"protocol":"SCTP","port":80}],"endpoints":[{"addresses":["10.244.0.5"]}]}`},
		"any 10.96.0.9:0 ->\n",
	},
}

func TestTableOfCluster(t *testing.T) {
	for _, test := range cluster {
		t.Run(test.name, func(t *testing.T) {
			c := catalog{map[key]clusterService{}, map[key]endpointSlice{}}
			if err := merge(c.services, update{objects: raw(test.services)}, parseService); err != nil {
				t.Fatal(err)
			}
			if err := merge(c.slices, update{objects: raw(test.slices)}, parseSlice); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, c.table("node1").String()); d != "" {
				t.Errorf("table (-want +got):\n%s", d)
			}
		})
	}
}

func raw(texts []string) (list []json.RawMessage) {
	for _, text := range texts {
		list = append(list, json.RawMessage(text))
	}
	return list
}

// FuzzTable: whatever two objects say, the table has no address that a connection cannot have, and only what is ready or ending as backends.
func FuzzTable(f *testing.F) {
	for _, test := range cluster {
		for _, s := range test.services {
			for _, e := range test.slices {
				f.Add([]byte(s), []byte(e))
			}
		}
	}
	f.Fuzz(func(t *testing.T, serviceData, sliceData []byte) {
		c := catalog{map[key]clusterService{}, map[key]endpointSlice{}}
		if k, s, err := parseService(serviceData); err == nil {
			c.services[k] = s
		}
		if k, s, err := parseSlice(sliceData); err == nil {
			c.slices[k] = s
		}
		for at, backends := range c.table("node1").All() {
			if !at.IsValid() || at.Addr().Zone() != "" || (at.Port() == 0) != (at.Protocol == 0) {
				t.Errorf("service address %v", at)
			}
			for _, b := range backends {
				if !b.IsValid() || b.Port() == 0 || b.Addr().Is4() != at.Addr().Is4() {
					t.Errorf("%v leads to %v", at, b)
				}
			}
		}
	})
}

func FuzzParseNameservers(f *testing.F) {
	f.Add("# made by init\nnameserver 10.5.0.1\nsearch example.org\nnameserver fe80::1%eth0\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range parseNameservers(text) {
			if !a.IsValid() {
				t.Error("an address that is none")
			}
		}
	})
}
