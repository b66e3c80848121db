"""What Google's SDK does with what its API keeps: files, cached contents, batches; all of it through the edge."""

import io

import clients
import pytest
import scenarios
from google import genai
from google.genai import errors, types

SIZE = 9 * 1024 * 1024 + 5


@pytest.fixture
def sdk(edge):
    return genai.Client(api_key=clients.KEY, http_options=types.HttpOptions(base_url=edge))


def missing(call, **named) -> None:
    with pytest.raises(errors.ClientError) as caught:
        call(**named)
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_files(sdk, providers, tmp_path):
    kept = providers["gemini"].kept
    data = bytes(range(256)) * (SIZE // 256) + b"12345"
    big = sdk.files.upload(file=io.BytesIO(data), config={"mime_type": "video/mp4", "display_name": "big"})
    assert (big.size_bytes, big.mime_type, big.display_name, big.state) == (SIZE, "video/mp4", "big", types.FileState.ACTIVE)
    upload = kept.pieces[-1][0]
    # The SDK sends pieces of 8 MiB.
    assert [piece[1:] for piece in kept.pieces if piece[0] == upload] == [(0, 8 << 20), (8 << 20, SIZE - (8 << 20))]
    assert kept.uploads[upload]["bytes"] == data
    path = tmp_path / "words.txt"
    path.write_text("words")
    small = sdk.files.upload(file=path)
    assert (small.mime_type, kept.uploads[kept.pieces[-1][0]]["called"]) == ("text/plain", "words.txt")
    assert {big.name, small.name} <= {file.name for file in sdk.files.list(config={"page_size": 1})}
    assert sdk.files.get(name=big.name).uri == big.uri
    said = scenarios.SCENARIOS["unicode"][0].texts()
    answer = sdk.models.generate_content(model="plain-gemini", contents=["[[unicode]]", small])
    assert answer.text == said
    for file in (big, small):
        sdk.files.delete(name=file.name)
        missing(sdk.files.get, name=file.name)


@pytest.mark.asyncio
async def test_files_async(sdk, providers):
    async with sdk.aio as client:
        file = await client.files.upload(file=io.BytesIO(b"x" * SIZE), config={"mime_type": "image/png"})
        assert file.size_bytes == SIZE and (await client.files.get(name=file.name)).name == file.name
        await client.files.delete(name=file.name)


def test_strangers_begin_no_upload(edge):
    stranger = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=edge))
    with pytest.raises(errors.ClientError) as caught:
        stranger.files.upload(file=io.BytesIO(b"x"), config={"mime_type": "image/png"})
    assert caught.value.code == 401


def test_cached_contents(sdk):
    config = types.CreateCachedContentConfig(contents=["a long text"], system_instruction="be brief", ttl="600s", display_name="c")
    cached = sdk.caches.create(model="plain-gemini", config=config)
    assert (cached.model, cached.display_name) == ("models/gemini-3-pro", "c")
    assert sdk.caches.get(name=cached.name).name == cached.name
    assert cached.name in [one.name for one in sdk.caches.list()]
    assert sdk.caches.update(name=cached.name, config={"ttl": "900s"}).name == cached.name
    said = scenarios.SCENARIOS["unicode"][0].texts()
    asked = types.GenerateContentConfig(cached_content=cached.name)
    assert sdk.models.generate_content(model="plain-gemini", contents="[[unicode]]", config=asked).text == said
    sdk.caches.delete(name=cached.name)
    missing(sdk.caches.get, name=cached.name)


def test_batches(sdk):
    request = types.InlinedRequest(model="plain-gemini", contents=[types.Content(role="user", parts=[types.Part(text="x")])])
    batch = sdk.batches.create(model="plain-gemini", src=[request, request], config={"display_name": "two"})
    assert (batch.display_name, batch.state) == ("two", types.JobState.JOB_STATE_SUCCEEDED)
    again = sdk.batches.get(name=batch.name)
    assert sdk.files.download(file=again.dest.file_name) == b'{"key":"a"}\n'
    assert batch.name in [one.name for one in sdk.batches.list(config={"page_size": 1})]
    sdk.batches.cancel(name=batch.name)
    assert sdk.batches.get(name=batch.name).state == types.JobState.JOB_STATE_CANCELLED
    sdk.batches.delete(name=batch.name)
    missing(sdk.batches.get, name=batch.name)
    lines = sdk.files.upload(file=io.BytesIO(b"{}\n"), config={"mime_type": "jsonl"})
    assert sdk.batches.create(model="plain-gemini", src=lines.name).state == types.JobState.JOB_STATE_SUCCEEDED
