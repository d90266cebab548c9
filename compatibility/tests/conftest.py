from perdure_dynamodb.testing.fixtures import dynamodb_endpoint, dynamodb_url  # noqa: F401 # fixtures
