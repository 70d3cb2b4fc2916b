package config

import (
	"reflect"
	"time"
)

// UpstreamTo is an upstream with these endpoints and every option at its default. Addresses that cannot be read are
// kept as they are, and reported by Check.
func UpstreamTo(addresses ...string) Upstream {
	u := defaultUpstream()
	for _, address := range addresses {
		u.To = append(u.To, ParseDestination(address))
	}
	return u
}

// ProxyRoute is a route that passes everything on to an upstream, with every option at its default.
func ProxyRoute(upstream string) Route {
	proxy := defaultProxy()
	proxy.Upstream = upstream
	return Route{Proxy: &proxy}
}

func defaultUpstream() Upstream {
	return Upstream{
		To:      []Destination{},
		Balance: wordAuto,
		Pool: Pool{
			Enabled:     true,
			Max:         Unlimited,
			Idle:        1024,
			IdleTimeout: Duration(60 * time.Second),
			MaxAge:      Duration(time.Hour),
			Share:       true,
		},
		Queue: Queue{Limit: 1024, Timeout: Duration(5 * time.Second)},
		Timeouts: UpstreamTimeouts{
			Connect:      Duration(5 * time.Second),
			Send:         Duration(30 * time.Second),
			FirstByte:    Duration(60 * time.Second),
			BetweenBytes: Duration(60 * time.Second),
			Exchange:     Unlimited,
			Tunnel:       DurationOrUnlimited(time.Hour),
			Lifetime:     Unlimited,
			Datagrams:    Duration(60 * time.Second),
		},
		ClientEnd: ClientEndAbort,
		Retries:   Retries{Attempts: 2, Budget: 0.2},
		KeepAlive: DurationOrOff(60 * time.Second),
		Eject: Eject{
			Failures: 5,
			Base:     Duration(time.Second),
			Max:      Duration(time.Minute),
			Share:    0.5,
		},
		Resolve: Resolve{Min: Duration(5 * time.Second), Max: Duration(time.Minute)},
	}
}

func defaultProxy() Proxy {
	return Proxy{Host: "client", Forwarded: ForwardedX, Body: Unlimited}
}

func defaultEndpoint() Endpoint { return Endpoint{Weight: 1, Connections: Unlimited} }

func defaultHealth() Health {
	return Health{Interval: Duration(5 * time.Second), Timeout: Duration(2 * time.Second), Rise: 2, Fall: 3}
}

func defaultHealthHTTP() HealthHTTP { return HealthHTTP{Path: "/"} }

// defaultOfProxy is defaultOf for the types that have to do with upstreams.
func defaultOfProxy(t reflect.Type) reflect.Value {
	switch t {
	case reflect.TypeFor[Upstream]():
		return reflect.ValueOf(defaultUpstream())
	case reflect.TypeFor[Proxy]():
		return reflect.ValueOf(defaultProxy())
	case reflect.TypeFor[Endpoint]():
		return reflect.ValueOf(defaultEndpoint())
	case reflect.TypeFor[Health]():
		return reflect.ValueOf(defaultHealth())
	case reflect.TypeFor[HealthHTTP]():
		return reflect.ValueOf(defaultHealthHTTP())
	default:
		return reflect.Zero(t)
	}
}
