package http1

import "testing"

const smallHead = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

const browserHead = "GET /articles/2026/how-a-byte-travels?from=front&lang=en HTTP/1.1\r\n" +
	"Host: www.example.org\r\n" +
	"Connection: keep-alive\r\n" +
	"Cache-Control: max-age=0\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " +
	"Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: navigate\r\n" +
	"Referer: https://www.example.org/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\n" +
	"Cookie: session=8d4f2c0a91b7\r\n\r\n"

func benchmarkParse(b *testing.B, head string) {
	var r Request
	in, limits := []byte(head), DefaultLimits()
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if n, err := r.Parse(in, &limits); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParseSmall(b *testing.B) { benchmarkParse(b, smallHead) }

func BenchmarkParseBrowser(b *testing.B) { benchmarkParse(b, browserHead) }

// BenchmarkDecodeChunked decodes 64 KiB of content in chunks of 4 KiB.
func BenchmarkDecodeChunked(b *testing.B) {
	var in []byte
	data := make([]byte, 4096)
	for range 16 {
		in = AppendChunk(in, data)
	}
	in = AppendChunkEnd(in)
	var d BodyDecoder
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		d.StartChunked()
		for rest := in; !d.Done(); {
			_, used, _, err := d.Decode(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[used:]
		}
	}
}

// BenchmarkAppendHead writes the head of an ordinary response.
func BenchmarkAppendHead(b *testing.B) {
	dst, date := make([]byte, 0, 512), FormatTime(nil, 784111777)
	b.ReportAllocs()
	for b.Loop() {
		head := AppendStatus(dst, 200)
		head = AppendDate(head, date)
		head = AppendField(head, "Content-Type", "text/plain; charset=utf-8")
		head = AppendLength(head, 13)
		if head = AppendHeadEnd(head); len(head) > cap(dst) {
			b.Fatal(len(head))
		}
	}
}

func BenchmarkFormatTime(b *testing.B) {
	dst := make([]byte, 0, TimeBytes)
	b.ReportAllocs()
	for b.Loop() {
		if len(FormatTime(dst, 784111777)) != TimeBytes {
			b.Fatal("length")
		}
	}
}

func BenchmarkParseTime(b *testing.B) {
	in := FormatTime(nil, 784111777)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseTime(in); !ok {
			b.Fatal("refused")
		}
	}
}
