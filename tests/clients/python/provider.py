"""What the Python SDK needs from an application to sign a user in: somewhere to keep things, and a browser."""

from urllib.parse import parse_qs, urlsplit

from lines import open_page
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class Memory:
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None
        self.granted = 0

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.granted += 1

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info

    def report(self) -> dict:
        """As whom it is signed in, and how often it was given tokens."""
        return {
            "client_id": self.client and self.client.client_id,
            "granted": self.granted,
            "scope": self.tokens and self.tokens.scope,
        }


def provider(url: str, oauth: dict, memory: Memory) -> OAuthClientProvider:
    """Signs in at whatever issuer the server names."""
    landed: list[str] = []

    async def redirect(authorization_url: str) -> None:
        landed.append(open_page(authorization_url))

    async def callback() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(landed.pop()).query)
        first = {name: values[0] for name, values in query.items()}
        return AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))

    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="A stock Python client",
            redirect_uris=[oauth["redirect_uri"]],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=memory,
        redirect_handler=redirect,
        callback_handler=callback,
        client_metadata_url=oauth.get("metadata_url"),
    )
